package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	byWebSocketAndCertificate := byCertificate
	byWebSocketAndCertificate.URL = q.url(byWebSocketTLS)
	anonymous := harness.PeerOptions{URL: q.url(byWebSocket)}
	for _, login := range []struct {
		make string
		o    harness.PeerOptions
	}{
		{"proton", with("PLAIN")}, {"rhea", with("PLAIN")}, {"go-amqp", with("PLAIN")}, {"vertx", with("PLAIN")},
		{"proton", byCertificate}, {"rhea", byCertificate}, {"go-amqp", byCertificate}, {"vertx", byCertificate},
		{"rhea", anonymous}, {"rhea", byWebSocketAndCertificate},
	} {
		scheme, _, _ := strings.Cut(login.o.URL, ":")
		name := login.make + " " + scheme + " " + login.o.Mechanism
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
	for line := range q.Lines() {
		if strings.Contains(line, "a secret") || strings.Contains(line, "a guess") {
			t.Errorf("the log shows a password: %s", line)
		}
	}
}

// jms runs an application of clients/jms and returns what it says, by the step. The first arguments may be options for Java, as "-Dname=value".
func jms(t *testing.T, program string, args ...string) map[string]string {
	t.Helper()
	java := []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"}
	for strings.HasPrefix(args[0], "-D") {
		java, args = append(java, args[0]), args[1:]
	}
	cmd := exec.Command("java", slices.Concat(java, []string{"-cp", filepath.Join(world.parts.JMS, "*"), client("jms/" + program)}, args)...)
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
	said := jms(t, "JMS.java", q.url(byAMQP), at, group(at, "g"))
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

// AKB-A13, AKB-A14: Qpid JMS logs in with SCRAM and with its certificate, over TCP and WebSocket. It looks for the name of the host in our certificate, as
// it does by default, and is content with the right one alone.
func TestJMSLogin_AKB_A13(t *testing.T) {
	t.Parallel()
	q, at := sharedQuay(t), topic(t, world.kafka, "jms-login", 1)
	own, strange := strings.TrimSuffix(world.certs.ClientCert, ".crt"), strings.TrimSuffix(world.certs.StrangerCert, ".crt")
	login, external := q.url(byLogin)+"?jms.username=app&jms.password=a%20secret&amqp.saslMechanisms=", "?amqp.saslMechanisms=EXTERNAL"
	ways := []struct{ own, url, want string }{
		{"-", login + "SCRAM-SHA-256", "sent"},
		{"-", login + "SCRAM-SHA-512", "sent"},
		{"-", q.url(byWebSocket), "sent"},
		{own, q.url(byTLS) + external, "sent"},
		{own, q.url(byWebSocketTLS) + external, "sent"},
		{"-", q.url(byName), "sent"},
		{"-", strings.Replace(q.url(byName), harness.CertName, "localhost", 1), "refused: .*localhost"},
		{"-", q.url(byTLS), "refused: "},
		{strange, q.url(byTLS) + external, "refused: "},
		{"-", strings.Replace(login, "a%20secret", "a%20guess", 1) + "SCRAM-SHA-256", "refused: .*SASL"},
	}
	hosts := filepath.Join(t.TempDir(), "hosts") // of Java's resolver
	must(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost "+harness.CertName+"\n"), 0o644))
	args := []string{"-Djdk.net.hosts.file=" + hosts, at, world.certs.CA}
	for _, way := range ways {
		args = append(args, way.own, way.url)
	}
	said := jms(t, "Login.java", args...)
	sent := 0
	for i, way := range ways {
		if got := said[fmt.Sprint("way ", i+1)]; !regexp.MustCompile("^" + way.want).MatchString(got) {
			t.Errorf("%s: %q, want %q", way.url, got, way.want)
		}
		if way.want == "sent" {
			sent++
		}
	}
	n, err := harness.Count(deadline(t), producer(t, world.kafka), at)
	must(t, err)
	if n != int64(sent) {
		t.Errorf("%d messages are in Kafka, want %d", n, sent)
	}
}
