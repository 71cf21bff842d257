package harness

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certs are PEM files of a certificate authority and of what it signed.
type Certs struct {
	CA                    string // ca.crt
	ServerCert, ServerKey string // for localhost and 127.0.0.1
	ServerBoth            string // key and certificate in one file, as Kafka wants them
	NamedCert, NamedKey   string // for [CertName] alone
	ClientCert, ClientKey string // CN=bridge
	StrangerCert          string // a client of another authority
	StrangerKey           string
}

// CertName is what a server of the named certificate is called.
const CertName = "quay.example"

// NewCerts writes fresh certificates into dir.
func NewCerts(dir string) (*Certs, error) {
	c := &Certs{
		CA:         filepath.Join(dir, "ca.crt"),
		ServerCert: filepath.Join(dir, "server.crt"), ServerKey: filepath.Join(dir, "server.key"),
		ServerBoth: filepath.Join(dir, "server.pem"),
		NamedCert:  filepath.Join(dir, "named.crt"), NamedKey: filepath.Join(dir, "named.key"),
		ClientCert: filepath.Join(dir, "client.crt"), ClientKey: filepath.Join(dir, "client.key"),
		StrangerCert: filepath.Join(dir, "stranger.crt"), StrangerKey: filepath.Join(dir, "stranger.key"),
	}
	ca, err := newAuthority("linkspan e2e")
	if err != nil {
		return nil, err
	}
	other, err := newAuthority("somebody else")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.CA, ca.cert, 0o644); err != nil {
		return nil, err
	}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	if err := errors.Join(
		ca.issue("localhost", []string{"localhost"}, loopback, c.ServerCert, c.ServerKey),
		ca.issue(CertName, []string{CertName}, nil, c.NamedCert, c.NamedKey),
		ca.issue("bridge", nil, nil, c.ClientCert, c.ClientKey),
		other.issue("bridge", nil, nil, c.StrangerCert, c.StrangerKey),
	); err != nil {
		return nil, err
	}
	key, err := os.ReadFile(c.ServerKey)
	if err != nil {
		return nil, err
	}
	cert, err := os.ReadFile(c.ServerCert)
	if err != nil {
		return nil, err
	}
	return c, os.WriteFile(c.ServerBoth, bytes.Join([][]byte{key, cert}, nil), 0o600)
}

// ClientTLS returns the settings of a client that trusts the authority.
func (c *Certs) ClientTLS() (*tls.Config, error) {
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots}, nil
}

type authority struct {
	cert   []byte
	parsed *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: encode("CERTIFICATE", der), parsed: parsed, key: key}, nil
}

// issue writes a certificate for a common name, and for a server's host names and addresses.
func (a *authority) issue(name string, hosts []string, addresses []net.IP, certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := template(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = hosts, addresses
	der, err := x509.CreateCertificate(rand.Reader, template, a.parsed, key.Public(), a.key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, encode("PRIVATE KEY", pkcs8), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, encode("CERTIFICATE", der), 0o644)
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err) // the system's source of randomness does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
