package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// errWouldBlock says that there is nothing to read, or no room to write, at this moment. It is a temporary net.Error: a
// tls.Conn that meets it keeps the part of a record that it has, and can be read again.
var errWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing at this moment" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errNoSocket = errors.New("the connection has no socket")

// underTLS is the connection below a tls.Conn. In the handshake it blocks as any other. After that it reads only what is
// there, and what it is to write waits with the connection's other bytes; so TLS neither holds a buffer while it waits
// for the device, nor blocks whoever writes.
type underTLS struct {
	net.Conn
	c    *conn
	live bool // the handshakes are over
}

func (u *underTLS) Read(p []byte) (int, error) {
	if u.live {
		return u.c.sock.readNow(p)
	}
	return u.Conn.Read(p)
}

func (u *underTLS) Write(p []byte) (int, error) {
	if u.live {
		u.c.out.encrypted(p)
		return len(p), nil
	}
	return u.Conn.Write(p)
}

// handshakeTLS does the TLS handshake, bounded by the connection's deadline. What it returns blocks until it is told that
// it is live.
func (c *conn) handshakeTLS() (*underTLS, error) {
	under := &underTLS{Conn: c.sock.Conn, c: c}
	c.tls = tls.Server(under, c.l.tls)
	return under, c.tls.Handshake()
}

// readTLS reads what is there into p, record by record.
func (c *conn) readTLS(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.tls.Read(p[n:])
		n += m
		if blockingReads {
			break
		}
	}
	if n > 0 && err == errWouldBlock {
		err = nil
	}
	return n, err
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
