package wire

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSConfig names the files of a TLS listener, all PEM. TLS 1.2 is the lowest version.
type TLSConfig struct {
	// Cert and Key are the server's certificate chain and private key. They are read again when they change on disk: new
	// connections get the new certificate, and those that are open stay. A pair that does not fit is logged, and the one
	// before stays in use.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA holds the authorities of which clients must have a certificate. Default "": they need none.
	ClientCA string `yaml:"client_ca"`
}

// A certificate is a server certificate that follows its files.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // of the files that current, or the last failure, came from
	looked  time.Time
}

// certificateAge is how long the files are not looked at again.
const certificateAge = time.Second

func loadCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, log: log}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	c.current, c.stamp, c.looked = &pair, c.stamps(), time.Now()
	return c, nil
}

func (c *certificate) stamps() (t [2]time.Time) {
	for i, name := range [...]string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			t[i] = info.ModTime()
		}
	}
	return t
}

// get returns the certificate, read again if its files have changed. It is a tls.Config's GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateAge {
		c.looked = now
		c.reload()
	}
	return c.current, nil
}

func (c *certificate) reload() {
	stamp := c.stamps()
	if stamp == c.stamp {
		return
	}
	c.stamp = stamp
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		c.log.Error("certificate has changed but cannot be used; the one before stays", "cert", c.cert, "err", err)
		return
	}
	c.current = &pair
	c.log.Info("certificate loaded again", "cert", c.cert)
}

// serverTLS returns the TLS configuration that cfg asks for.
func serverTLS(cfg TLSConfig, log *slog.Logger) (*tls.Config, error) {
	cert, err := loadCertificate(cfg.Cert, cfg.Key, log)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: cert.get,
		// Writes are batches already; records as large as they are cost less than many small ones.
		DynamicRecordSizingDisabled: true,
	}
	if cfg.ClientCA != "" {
		pem, err := os.ReadFile(cfg.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("load client authorities: %w", err)
		}
		t.ClientCAs, t.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !t.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("load client authorities: %s holds no certificate", cfg.ClientCA)
		}
	}
	return t, nil
}
