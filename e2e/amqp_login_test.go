package e2e

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// AKB-A13, AKB-W6: TLS, WebSocket, and the SASL mechanisms, by each client that has them. SCRAM has Qpid JMS alone.
func TestAMQP_Login_AKB_A13(t *testing.T) {
	t.Parallel()
	q, in := sharedQuay(t), topic(t, world.kafka, "amqp-login", 1)
	records := open(t, world.kafka, in)
	certs := world.certs
	secret := harness.PeerOptions{URL: q.url(byLogin), User: "app", Password: "a secret"}
	with := func(mechanism string) harness.PeerOptions {
		o := secret
		o.Mechanism = mechanism
		return o
	}
	byCertificate := harness.PeerOptions{URL: q.url(byTLS), Mechanism: "EXTERNAL", CA: certs.CA, Cert: certs.ClientCert, Key: certs.ClientKey}
	anonymous := harness.PeerOptions{URL: q.url(byWebSocket)}
	for _, login := range []struct {
		make string
		o    harness.PeerOptions
	}{
		{"proton", with("PLAIN")}, {"rhea", with("PLAIN")}, {"go-amqp", with("PLAIN")}, {"vertx", with("PLAIN")},
		{"proton", byCertificate}, {"rhea", byCertificate}, {"go-amqp", byCertificate}, {"vertx", byCertificate},
		{"rhea", anonymous},
	} {
		name := login.make + " " + login.o.Mechanism
		t.Run(name, func(t *testing.T) {
			s := sender(t, meet(t, peerMade(login.make), login.o), in)
			send(t, s, harness.Data([]byte(name)))
			records.wait(t, withValue(name))
		})
	}
	wrong, stranger, none := secret, byCertificate, byCertificate
	wrong.Password = "a guess"
	stranger.Cert, stranger.Key = certs.StrangerCert, certs.StrangerKey
	none.Cert, none.Key = "", ""
	for _, refused := range []struct {
		name, mechanism string
		o               harness.PeerOptions
	}{
		{"wrong password", "PLAIN", wrong}, {"nobody", "ANONYMOUS", harness.PeerOptions{URL: q.url(byLogin)}},
		{"certificate of somebody else", "EXTERNAL", stranger}, {"no certificate", "EXTERNAL", none},
	} {
		t.Run(refused.name, func(t *testing.T) {
			eachPeer(t, func(t *testing.T, m harness.PeerMake) {
				o := refused.o
				o.Mechanism, o.Container = refused.mechanism, "stranger"
				if p, err := m.Dial(deadline(t), o); err == nil {
					p.Drop()
					t.Error("not refused")
				}
			})
		})
	}
	if log := q.Log(); strings.Contains(log, "a secret") || strings.Contains(log, "a guess") {
		t.Error("the log shows a password")
	}
}

// jms runs the application of clients/jms and returns what it says, by the step.
func jms(t *testing.T, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command("java", append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(world.parts.JMS, "*"), client("jms/JMS.java")}, args...)...)
	p, err := harness.Start("jms", cmd, filepath.Join(t.TempDir(), "jms.log"))
	must(t, err)
	t.Cleanup(p.Kill)
	code, err := p.Wait(deadline(t))
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, p.Log())
	}
	said := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(p.Log())); lines.Scan(); {
		step, what, _ := strings.Cut(lines.Text(), ": ")
		said[step] = what
	}
	t.Logf("%q", said)
	return said
}

// AKB-A14: an application of Qpid JMS that knows another broker: bytes, text, map and stream messages with their properties;
// CLIENT_ACKNOWLEDGE and recover; what Kafka has no equal for is refused, the reason in words, and the connection goes on.
func TestJMS_AKB_A14(t *testing.T) {
	t.Parallel()
	q, at := sharedQuay(t), topic(t, world.kafka, "jms", 1)
	said := jms(t, q.url(byAMQP), at, group(at, "g"))
	for step, want := range map[string]string{
		"sent": "4", "received": "4", "recovered": "4", "acknowledged": "4", "still connected": "", "selector": "selectors are not supported",
		"transacted": "Transactions are not supported", "temporary queue": "not supported", "browser": "not supported",
	} {
		if got, there := said[step]; !there || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	var values []string
	must(t, harness.Read(deadline(t), world.kafka.Addrs(), func(r *kgo.Record) { values = append(values, string(r.Value)) }, at))
	if len(values) != 6 || values[0] != "\x00\x01\xff\x7f\x80" || values[1] != "größe ⚓ 日本" || values[4] != "after" || values[5] != "last" {
		t.Errorf("in Kafka: %q", values)
	}
}

// AKB-A13, AKB-A14: Qpid JMS logs in with SCRAM, and comes by WebSocket.
func TestJMSLogin_AKB_A13(t *testing.T) {
	t.Parallel()
	q, at := sharedQuay(t), topic(t, world.kafka, "jms-login", 1)
	login := q.url(byLogin) + "?jms.username=app&jms.password=a%20secret&amqp.saslMechanisms="
	for _, url := range []string{login + "SCRAM-SHA-256", login + "SCRAM-SHA-512", q.url(byWebSocket)} {
		if _, there := jms(t, url, at)["logged in"]; !there {
			t.Errorf("%s: not logged in", url)
		}
	}
}
