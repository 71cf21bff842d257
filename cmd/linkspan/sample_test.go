package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A subscriber gets what a publisher sends, through the broker alone: topics in turn, a total, a payload with a counter (CON-A11).
func TestPubAndSub(t *testing.T) {
	t.Parallel() // it waits more than it works
	bridge := spawn(t, freePorts(), "run")
	url := "mqtt://" + bridge.until(&bridge.stdout, `devices +mqtt://(\S+) `)[1]
	for _, version := range []string{"5", "3.1.1", "3.1"} {
		for _, qos := range []string{"0", "1", "2"} {
			t.Run(version+" QoS "+qos, func(t *testing.T) {
				t.Parallel()
				prefix := "t" + strings.ReplaceAll(version, ".", "") + qos + "/"
				sub := spawn(t, nil, "sub", prefix+"+", "-b", url, "-n", "20", "-q", qos, "--protocol", version, "-f", "{topic} {payload} {qos}", "-v")
				sub.until(&sub.stderr, `msg=connected`)
				pub := spawn(t, nil, "pub", prefix+"a", prefix+"b", "-b", url, "-n", "20", "-e", "1ms", "-q", qos, "--protocol", version, "-m", "m{n}")
				if code := pub.exit(); code != 0 || !regexp.MustCompile(`^20 of 20 messages (acknowledged|sent) in \S+, \d+ a second\n$`).MatchString(pub.stderr.String()) {
					t.Errorf("pub: exit %d\n%s", code, &pub.stderr)
				}
				if code := sub.exit(); code != 0 {
					t.Errorf("sub: exit %d\n%s", code, &sub.stderr)
				}
				got := strings.Split(strings.TrimSpace(sub.stdout.String()), "\n")
				var want []string
				for n := 1; n <= 20; n++ {
					want = append(want, fmt.Sprintf("%s%c m%d %s", prefix, "ba"[n%2], n, qos))
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			})
		}
	}
}

// Without a total they run until they are stopped, and end well.
func TestPubAndSubUntilStopped(t *testing.T) {
	t.Parallel() // it waits more than it works
	bridge := spawn(t, freePorts(), "run")
	url := "mqtt://" + bridge.until(&bridge.stdout, `devices +mqtt://(\S+) `)[1]
	sub := spawn(t, nil, "sub", "#", "-b", url)
	pub := spawn(t, nil, "pub", "a", "-b", url, "-n", "0", "-e", "1ms")
	sub.until(&sub.stdout, `(?m)^a \d+$`)
	for _, p := range []*process{pub, sub} {
		p.signal(os.Interrupt)
		if code := p.exit(); code != 0 {
			t.Errorf("exit %d\n%s", code, &p.stderr)
		}
	}
	if !strings.Contains(pub.stderr.String(), "messages acknowledged in") {
		t.Error(&pub.stderr)
	}
}

// certificate writes a certificate for 127.0.0.1 that vouches for itself, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return file("cert.pem", "CERTIFICATE", der), file("key.pem", "PRIVATE KEY", keyDER)
}

// Over TLS and over WebSocket; a broker that nobody vouches for gets nothing (CON-A11).
func TestPubAndSubOverTLS(t *testing.T) {
	t.Parallel() // it waits more than it works
	cert, key := certificate(t)
	bridge := spawn(t, append(freePorts(), "LINKSPAN_ENDPOINTS_DEVICES_LISTEN=wss://127.0.0.1:0/mqtt", "LINKSPAN_ENDPOINTS_DEVICES_TLS_CERT="+cert, "LINKSPAN_ENDPOINTS_DEVICES_TLS_KEY="+key), "run")
	url := bridge.until(&bridge.stdout, `devices +(wss://\S+) `)[1]
	sub := spawn(t, nil, "sub", "a", "-b", url, "--ca", cert, "-n", "1", "-v")
	sub.until(&sub.stderr, `msg=connected`)
	stranger := spawn(t, nil, "pub", "a", "-b", url)
	stranger.until(&stranger.stderr, `level=WARN .*certificate`)
	stranger.signal(os.Interrupt)
	if code := stranger.exit(); code != exitFailed || !strings.Contains(stranger.stderr.String(), "0 of 1 messages") {
		t.Errorf("exit %d\n%s", code, &stranger.stderr)
	}
	pub := spawn(t, nil, "pub", "a", "-b", url, "--ca", cert)
	if code := pub.exit(); code != 0 {
		t.Errorf("exit %d\n%s", code, &pub.stderr)
	}
	if code := sub.exit(); code != 0 || sub.stdout.String() != "a 1\n" {
		t.Errorf("exit %d, %q\n%s", code, &sub.stdout, &sub.stderr)
	}
}

// The password comes from the environment, where nobody else on the machine sees it, and goes with a user name only.
func TestPasswordOfPubAndSub(t *testing.T) {
	p := &program{environ: []string{"MQTT_PASSWORD=secret"}}
	with, without := connectionFlags{User: "ada"}, connectionFlags{}
	if c := with.connection(p); c.Username != "ada" || c.Password != "secret" {
		t.Errorf("%+v", c)
	}
	if c := without.connection(p); c.Username != "" || c.Password != "" {
		t.Errorf("%+v", c)
	}
}

// What cannot be done is told, and the exit code says so.
func TestPubAndSubThatFail(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"pub"}, exitWrong, "expected \"<topic>"},
		{[]string{"pub", "a/#"}, exitWrong, `topic "a/#"`},
		{[]string{"sub", "a/#/b"}, exitWrong, `topic "a/#/b"`},
		{[]string{"sub", "a", "-b", "http://x"}, exitWrong, "--broker http://x: "},
		{[]string{"pub", "a", "-b", "mqtt://127.0.0.1:1", "--timeout", "50ms"}, exitFailed, "linkspan: gave up after 50ms"},
		{[]string{"sub", "a", "-n", "1", "-b", "mqtt://127.0.0.1:1", "--timeout", "50ms"}, exitFailed, "ended after 0 of 1 messages"},
		{[]string{"sub", "a", "-b", "mqtt://127.0.0.1:1", "--timeout", "50ms"}, 0, "0 messages in "},
	} {
		p := spawn(t, nil, c.args...)
		if code := p.exit(); code != c.code || !strings.Contains(p.stderr.String(), c.want) {
			t.Errorf("%v: exit %d, want %d and %q:\n%s", c.args, code, c.code, c.want, &p.stderr)
		}
	}
}
