package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/linkspan/linkspan"
)

// TLSConfig is how a TLS connection is made and verified. All files are PEM, and are read again at each connect.
type TLSConfig struct {
	// CA holds the authorities that may vouch for the broker. Default "": those of the system.
	CA string `yaml:"ca"`
	// Cert and Key are our certificate chain and private key, for a broker that asks for them. Default "": none.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// KeyPassword decrypts Key. Default "": it is not encrypted.
	KeyPassword linkspan.Secret `yaml:"key_password"`
	// ServerName is the name that the broker's certificate must have, and that it is asked for (SNI). Default "": the host of the
	// address.
	ServerName string `yaml:"server_name"`
	// Ciphers are the cipher suites of TLS 1.2 that may be used, by their IANA names. Default: those that Go holds for safe.
	// Those of TLS 1.3 cannot be chosen.
	Ciphers []string `yaml:"ciphers"`
	// MinVersion is the lowest version of TLS: 1.0, 1.1, 1.2, the default, or 1.3.
	MinVersion string `yaml:"min_version"`
	// AnyName lets the broker's certificate have any name, as long as an authority vouches for it. Default false.
	AnyName bool `yaml:"any_name"`
	// Insecure verifies nothing: whoever is in between can read and change everything. Default false; a warning at each start.
	Insecure bool `yaml:"insecure"`
}

var tlsVersions = map[string]uint16{
	"":    tls.VersionTLS12,
	"1.0": tls.VersionTLS10,
	"1.1": tls.VersionTLS11,
	"1.2": tls.VersionTLS12,
	"1.3": tls.VersionTLS13,
}

// IsZero reports whether nothing is set.
func (c *TLSConfig) IsZero() bool {
	return c.CA == "" && c.Cert == "" && c.Key == "" && c.KeyPassword == "" && c.ServerName == "" && len(c.Ciphers) == 0 &&
		c.MinVersion == "" && !c.AnyName && !c.Insecure
}

// Validate returns what is wrong with c, without reading files.
func (c *TLSConfig) Validate() error {
	var errs []error
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, errors.New("tls.cert and tls.key: one without the other; set both"))
	}
	if c.KeyPassword != "" && c.Key == "" {
		errs = append(errs, errors.New("tls.key_password: without tls.key"))
	}
	if _, ok := tlsVersions[c.MinVersion]; !ok {
		errs = append(errs, fmt.Errorf("tls.min_version: %q is not known; use 1.0, 1.1, 1.2 or 1.3", c.MinVersion))
	}
	for _, name := range c.Ciphers {
		if _, ok := cipherSuite(name); !ok {
			errs = append(errs, fmt.Errorf("tls.ciphers: %q is no cipher suite of TLS 1.2; use IANA names such as %s",
				name, tls.CipherSuiteName(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)))
		}
	}
	return errors.Join(errs...)
}

func cipherSuite(name string) (id uint16, ok bool) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.Name == name && slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			return s.ID, true
		}
	}
	return 0, false
}

// Load reads the files, and returns the configuration for a connection to host.
func (c *TLSConfig) Load(host string) (*tls.Config, error) {
	t := &tls.Config{
		MinVersion: tlsVersions[c.MinVersion],
		ServerName: c.ServerName,
		// Writes are batches already; records as large as they are cost less than many small ones.
		DynamicRecordSizingDisabled: true,
	}
	if t.ServerName == "" {
		t.ServerName = host
	}
	for _, name := range c.Ciphers {
		id, _ := cipherSuite(name)
		t.CipherSuites = append(t.CipherSuites, id)
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("load authorities: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("load authorities: %s holds no certificate", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := c.loadPair()
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	switch {
	case c.Insecure:
		t.InsecureSkipVerify = true
	case c.AnyName:
		t.InsecureSkipVerify = true // of what verifyChain does not do, only the name is left out
		t.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, t.RootCAs) }
	}
	return t, nil
}

// verifyChain verifies all of a certificate but its name.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the broker shows no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(options)
	return err
}

// loadPair reads our certificate and key.
func (c *TLSConfig) loadPair() (tls.Certificate, error) {
	cert, err := os.ReadFile(c.Cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load certificate: %w", err)
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load private key: %w", err)
	}
	if c.KeyPassword != "" {
		if key, err = decryptKey(key, string(c.KeyPassword)); err != nil {
			return tls.Certificate{}, fmt.Errorf("load private key %s: %w", c.Key, err)
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load certificate %s and private key %s: %w", c.Cert, c.Key, err)
	}
	return pair, nil
}
