package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/twmb/franz-go/pkg/kfake"
)

// certificates writes the files that the examples expect in their directory of certificates: one authority for all, a
// certificate for localhost, and one for a device. It returns the directory and what a device needs to connect.
func certificates(t *testing.T) (dir string, device *tls.Config) {
	t.Helper()
	dir = t.TempDir()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	ca, caKey := template("authority"), newKey()
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage, ca.DNSNames, ca.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil, nil
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	write("kafka-ca.pem", "CERTIFICATE", caDER)
	write("device-ca.pem", "CERTIFICATE", caDER)
	for _, name := range []string{"server", "device"} {
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, template(name), ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".key", "PRIVATE KEY", keyDER)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	parsed, _ := x509.ParseCertificate(caDER)
	roots.AddCert(parsed)
	return dir, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}
}

// secureCluster is a broker with TLS and the login of the example, and returns its address.
func secureCluster(t *testing.T, certs string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "server.pem"), filepath.Join(certs, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "linkspan", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// Every example is a configuration that starts, on ports and directories of the test, and takes a message (KAL-W11).
func TestExamplesStart(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("../examples/*")
	if err != nil || len(names) < 6 {
		t.Fatal(names, err)
	}
	certs, device := certificates(t)
	for _, dir := range names {
		name := filepath.Join(dir, "linkspan.yaml")
		if filepath.Ext(dir) == ".md" {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			environ := []string{
				"CERTS=" + certs, "KAFKA_PASSWORD=right", "KAFKA_REPLICATION=1", "KAFKA_BROKERS=" + secureCluster(t, certs),
				"LINKSPAN_ADMIN_LISTEN=127.0.0.1:0", "HOME=" + t.TempDir(), "SPOOL=" + t.TempDir(),
			}
			if filepath.Base(dir) == "outages" {
				environ = append(environ, "KAFKA_BROKERS="+embedded(t)) // without a login
			}
			cfg, err := Load(name, environ)
			if err != nil {
				t.Fatal(err)
			}
			notes, err := Check(cfg)
			if err != nil || notes != nil {
				t.Error(notes, err)
			}
			cfg.Kafka.Embedded.Listen = "127.0.0.1:0"
			if cfg.Kafka.TLS != nil {
				cfg.Kafka.TLS.ServerName = "localhost"
			}
			for _, e := range cfg.Endpoints {
				switch {
				case e.Listener != nil:
					e.Listener.URL = anyPort(t, e.Listener.URL)
				case e.AMQPListener != nil:
					e.AMQPListener.URL = anyPort(t, e.AMQPListener.URL)
				}
			}
			sites := map[string]*site{}
			for _, name := range cfg.clients() {
				sites[name] = newSite(t, packet.V5)
				cfg.Endpoints[name].Client.Dial = []string{sites[name].url()}
			}
			r := start(t, cfg)
			for name, s := range sites {
				id := cfg.Endpoints[name].Client.ClientID
				s.connected(id)
				s.publish("sensors/t7/temp", "21.5")
				eventually(t, name+" has its ack", func() bool { n, _ := s.waiting(id); return n == 0 })
			}
			for _, e := range r.Endpoints {
				u, _ := url.Parse(e.URL)
				var d *mqtttest.Client
				switch u.Scheme {
				case "amqp":
					if got := amqptest.Dial(t, u.Host).Sender(topicsOfExamples(dir)[1]).Send(frame.AppendData(nil, "one")); got.Kind != frame.Accepted {
						t.Errorf("%+v", got)
					}
					continue
				case "mqtt":
					d = mqtttest.Dial(t, u.Host, packet.V311)
				case "mqtts":
					d = mqtttest.DialTLS(t, u.Host, packet.V311, device)
				case "wss":
					conn, err := tls.Dial("tcp", u.Host, device)
					if err != nil {
						t.Fatal(err)
					}
					d = mqtttest.New(t, wiretest.WebSocket(t, conn, "mqtt", u.Path), packet.V311)
				}
				d.Join("device-on-" + e.Name)
				d.Send(publish(topicsOfExamples(dir)[0], "21.5", 1, 1))
				d.ExpectAck(packet.PUBACK, 1, packet.Success)
			}
		})
	}
}

// topicsOfExamples returns what an example takes over MQTT, and over AMQP.
func topicsOfExamples(dir string) [2]string {
	switch filepath.Base(dir) {
	case "commands":
		return [2]string{"devices/pump-4/answers"}
	case "spark":
		return [2]string{"temperature/hall-1", "temperature"}
	}
	return [2]string{"sensors/hall-1/t7/temp", "orders/emea"}
}

// anyPort returns a URL to listen at with a port that is free.
func anyPort(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = "127.0.0.1:0"
	return u.String()
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// The configurations in the documents are ones (UNS-W8).
func TestConfigurationsInDocuments(t *testing.T) {
	blocks := 0
	err := filepath.WalkDir("..", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range yamlBlock.FindAllSubmatchIndex(text, -1) {
			blocks++
			line := strings.Count(string(text[:m[2]]), "\n")
			padded := strings.Repeat("\n", line) + string(text[m[2]:m[3]]) // so that mistakes have the document's lines
			if !strings.Contains(padded, "endpoints:") {                   // a part of one
				padded += "\nendpoints: {devices: {listen: \"mqtt://:1883\"}, plant-a: {listen: \"mqtt://:1884\"}}\n"
			}
			if _, err := Parse(name, []byte(padded), []string{"HOME=/h", "KAFKA_PASSWORD=x", "MQTT_PASSWORD=x"}); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if blocks == 0 {
		t.Error("no document has a configuration")
	}
}
