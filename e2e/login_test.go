package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// loginConfig is a configuration that logs in to Kafka at addr as the YAML in how says.
func loginConfig(addr, how string, port int, topic string) string {
	return fmt.Sprintf("kafka:\n  brokers: [%s]\n%s\nendpoints:\n  devices: {listen: \"mqtt://%s\"}\n%s",
		addr, how, harness.Loopback(port), loadRoutes(topic))
}

func sasl(mechanism, password string) string {
	return fmt.Sprintf("  sasl: {mechanism: %s, username: bridge, password: %s}\n", mechanism, password)
}

func trust() string { return fmt.Sprintf("  tls: {ca: %s}\n", world.certs.CA) }

func certificate(cert, key string) string {
	return fmt.Sprintf("  tls: {ca: %s, cert: %s, key: %s}\n", world.certs.CA, cert, key)
}

func oauth(secret string) string {
	return fmt.Sprintf("  sasl:\n    mechanism: oauthbearer\n    oauth: {token_endpoint: %q, client_id: %s, client_secret: %s}\n",
		world.issuer.TokenURL, world.issuer.ID, secret)
}

// Every way to log in to Kafka, OAUTHBEARER with OIDC client credentials among them (CON-A9): a device's message is acknowledged, and in Kafka.
func TestLogin(t *testing.T) {
	t.Parallel()
	kafka, certs := world.kafka, world.certs
	tests := []struct{ name, addr, how string }{
		{"plain", kafka.Plain, sasl("plain", "bridge-secret")},
		{"scram-sha-256 over TLS", kafka.SCRAM, sasl("scram-sha-256", "bridge-secret") + trust()},
		{"scram-sha-512 over TLS", kafka.SCRAM, sasl("scram-sha-512", "bridge-secret") + trust()},
		{"oauthbearer", kafka.OAuth, oauth(world.issuer.Secret)},
		{"mutual TLS", kafka.MTLS, certificate(certs.ClientCert, certs.ClientKey)},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := topic(t, kafka, fmt.Sprintf("login-%d", i), 1)
			l := start(t, 1, func(p []int) string { return loginConfig(test.addr, test.how, p[0], name) })
			var ledger harness.Ledger
			p := harness.Publisher{Addr: func() string { return l.Addr(0) }, Client: "d", Topic: "load/d", QoS: 1, Count: 10, Window: 10, Ledger: &ledger}
			must(t, p.Run(deadline(t)))
			balance(t, kafka.Addrs(), &ledger, false, name)
		})
	}
}

// CON-A9: a token is renewed before it expires, while messages go on.
func TestTokenRenewed(t *testing.T) {
	t.Parallel()
	name := topic(t, world.kafka, "token-renewed", 1)
	issuer, err := world.issuer.Sibling(6 * time.Second)
	must(t, err)
	defer issuer.Close()
	how := fmt.Sprintf("  sasl:\n    mechanism: oauthbearer\n    oauth: {token_endpoint: %q, client_id: %s, client_secret: %s}\n",
		issuer.TokenURL, issuer.ID, issuer.Secret)
	l := start(t, 1, func(p []int) string { return loginConfig(world.kafka.OAuth, how, p[0], name) })
	before := issuer.Issued()
	var ledger harness.Ledger
	for n := uint64(1); issuer.Issued() < before+2; n++ {
		p := harness.Publisher{Addr: func() string { return l.Addr(0) }, Client: fmt.Sprint("d-", n), Topic: fmt.Sprint("load/d-", n), QoS: 1, Count: 20, Window: 1, Pace: 50 * time.Millisecond, Ledger: &ledger}
		must(t, p.Run(deadline(t)))
	}
	balance(t, world.kafka.Addrs(), &ledger, false, name)
}

// A login that is refused ends the start with exit code 1, and says what is wrong.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	kafka, certs := world.kafka, world.certs
	forger, err := world.issuer.Sibling(time.Minute)
	must(t, err)
	defer forger.Close()
	forger.Forge(true)
	forged := strings.Replace(oauth(world.issuer.Secret), world.issuer.TokenURL, forger.TokenURL, 1)
	tests := []struct{ name, addr, how, says string }{
		{"plain, wrong password", kafka.Plain, sasl("plain", "guess"), "authentication"},
		{"scram-sha-256, wrong password", kafka.SCRAM, sasl("scram-sha-256", "guess") + trust(), "authentication"},
		{"scram-sha-512, wrong password", kafka.SCRAM, sasl("scram-sha-512", "guess") + trust(), "authentication"},
		{"oauthbearer, wrong secret", kafka.OAuth, oauth("guess"), "invalid_client"},
		{"oauthbearer, forged token", kafka.OAuth, forged, "authentication"},
		{"no certificate", kafka.MTLS, trust(), "certificate"},
		{"certificate of somebody else", kafka.MTLS, certificate(certs.StrangerCert, certs.StrangerKey), "certificate"},
		{"authority not trusted", kafka.SCRAM, sasl("scram-sha-512", "bridge-secret") + "  tls: {}\n", "certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ports, err := harness.Ports(1)
			must(t, err)
			l := launchLinkspan(t, loginConfig(test.addr, test.how, ports[0], "load"))
			code, err := l.Wait(deadline(t))
			must(t, err)
			log := l.Log()
			t.Log(log)
			if code != 1 || !strings.Contains(strings.ToLower(log), test.says) {
				t.Errorf("exit code %d, want 1 and a word about %s", code, test.says)
			}
			if strings.Contains(log, "guess") || strings.Contains(log, "bridge-secret") {
				t.Error("the log shows a secret")
			}
		})
	}
}

// librdkafka's SCRAM, by confluent-kafka, reads what Linkspan wrote: the topic is as good to others as to us.
func TestOthersRead(t *testing.T) {
	t.Parallel()
	name := topic(t, world.kafka, "others-read", 1)
	l := gateway(t, world.kafka, loadRoutes(name))
	d := dial(t, made("paho-go-3"), harness.Options{URL: "mqtt://" + l.Addr(0), Client: "d", Version: 4})
	publish(t, d, harness.Message{Topic: "load/d", Payload: []byte("21.5"), QoS: 1})
	out := tool(t, "", world.parts.Python, client("read_scram.py"), world.kafka.SCRAM, world.certs.CA, "bridge", "bridge-secret", name)
	if got := strings.TrimSpace(out); got != "d 21.5" {
		t.Errorf("confluent-kafka read %q", got)
	}
}
