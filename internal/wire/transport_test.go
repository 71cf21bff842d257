package wire

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
)

// VXM-A4: a certificate follows its files. A pair that does not fit is said once, and the one before stays.
func TestCertificateFollowsItsFiles(t *testing.T) {
	var log mqtttest.Log
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("first")
	c, err := loadCertificate(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		c.looked = time.Time{} // long ago
		pair, err := c.get(nil)
		if err != nil || pair.Leaf.Subject.CommonName != want {
			t.Errorf("the certificate is %v, %v, want %s", pair.Leaf.Subject, err, want)
		}
	}
	later := time.Now()
	replace := func(from, to string) {
		t.Helper()
		later = later.Add(time.Second) // however coarse the file system's clock is
		if err := os.Chtimes(from, later, later); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	expect("first")
	cert2, key2 := a.Issue("second")
	replace(cert2, cert)
	expect("first")
	expect("first")
	if n := log.Count("cannot be used"); n != 1 {
		t.Errorf("said %d times", n)
	}
	replace(key2, key)
	expect("second")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	expect("second")
}

// Files that are not there, or hold something else, are an error at once.
func TestFilesOfTLS(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("server")
	nothing := filepath.Join(t.TempDir(), "nothing")
	for name, cfg := range map[string]TLSConfig{
		"no certificate":            {Cert: nothing, Key: key},
		"no authorities":            {Cert: cert, Key: key, ClientCA: nothing},
		"a key for the authorities": {Cert: cert, Key: key, ClientCA: key},
	} {
		at := local()
		at.TLS = true
		if s, err := Listen(Config{Settings: Settings{TLS: cfg}, At: at}, new(Stats), quiet); err == nil {
			t.Errorf("%s: no error", name)
			_ = s.Close()
		}
	}
}

// A peer that does not speak TLS where it has to is a failed connection.
func TestNoTLS(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("server")
	tr := start(t, true, func(c *Config) { c.At.TLS, c.TLS = true, TLSConfig{Cert: cert, Key: key} })
	nc := tr.dial(t)
	say(t, nc, "hello, this is no handshake\n")
	mqtttest.Until(t, "it has failed", func() bool { return tr.stats.Failed.Load() == 1 && tr.stats.Open.Load() == 0 })
}

// A ping is answered and a close frame too, under TLS as well [RFC 6455, 5.5].
func TestControlFrames(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("server", "127.0.0.1")
	both(t, func(t *testing.T, keep bool) {
		tr := start(t, keep, func(c *Config) {
			c.At.TLS, c.TLS = true, TLSConfig{Cert: cert, Key: key}
			c.At.WebSocket, c.Subprotocols = true, []string{"lines"}
		})
		nc := tls.Client(tr.dial(t), wiretest.Trust(t, a.File))
		wiretest.WebSocket(t, nc, "lines", "/")
		send := func(f ws.Frame) {
			t.Helper()
			if err := ws.WriteFrame(nc, ws.MaskFrame(f)); err != nil {
				t.Fatal(err)
			}
		}
		send(ws.NewPingFrame([]byte("there?")))
		if f, err := ws.ReadFrame(nc); err != nil || f.Header.OpCode != ws.OpPong || string(f.Payload) != "there?" {
			t.Errorf("%+v, %v is no answer to a ping", f, err)
		}
		send(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "")))
		f, err := ws.ReadFrame(nc)
		for err == nil && f.Header.OpCode == ws.OpBinary { // the goodbye
			f, err = ws.ReadFrame(nc)
		}
		if code, _ := ws.ParseCloseFrameData(f.Payload); err != nil || f.Header.OpCode != ws.OpClose || code != ws.StatusGoingAway {
			t.Errorf("%+v, %v is no answer to a close", f, err)
		}
	})
}
