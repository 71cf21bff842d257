package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// asConnector starts Linkspan in the place of connector, with connector's environment variables.
func asConnector(t *testing.T, site *harness.Site, kafka string, env ...string) *harness.Linkspan {
	t.Helper()
	l, err := harness.NewLinkspan(world.binary, t.TempDir(), 0, func([]int) string { return "" })
	must(t, err)
	u, err := url.Parse(site.URL("mqtt"))
	must(t, err)
	name := fmt.Sprintf("connector-%d", topics.Add(1))
	l.Args = []string{"run", "--profile", "connector"}
	l.Env = append([]string{
		"RUN_MODE=PRODUCTION", "MQTT_BROKER_URL=" + u.Hostname(), "MQTT_BROKER_PORT=" + u.Port(), "MQTT_CLIENT_ID=" + name,
		"MQTT_USER_NAME=walton", "MQTT_USER_PASSWORD=12345678", "LOG_LVL=info", "INVOKE_LATENCY_SEC=10", "INVOKE_MAX_GOROUTINE=100",
		"INVOKE_MIN_GOROUTINE=50", "KAFKA_BROKER=" + kafka, "LINKSPAN_ADMIN_LISTEN=" + l.Admin, "LINKSPAN_ADMIN_STALL_TIMEOUT=2s", "LINKSPAN_FLEET_NAME=" + name,
		"LINKSPAN_FLEET_TOPIC_PREFIX=_" + name + ".", "LINKSPAN_FLEET_LANES=4", "LINKSPAN_DEAD_LETTER_TOPIC=" + name + ".dead",
	}, env...)
	must(t, l.Launch())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- Linkspan\n%s", l.Log())
		}
		l.Kill()
	})
	return l
}

// withLogin starts a Mosquitto that takes walton with a password, and people without a name.
func withLogin(t *testing.T) *harness.Site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "passwords")
	must(t, os.WriteFile(file, nil, 0o600))
	tool(t, "", "mosquitto_passwd", "-b", file, "walton", "12345678")
	return ownSite(t, "mosquitto", "password_file "+file+"\nlog_type subscribe\n")
}

// CON-A1: the lists of connector's environment; exact topics win over wildcards, and of wildcards the first.
// CON-A9: SASL_SSL with client credentials of OpenID Connect, the token renewed while messages go on.
// CON-A10: no secret in the log.
func TestConnector_CON_A1_A9_A10(t *testing.T) {
	t.Parallel()
	site := withLogin(t)
	issuer, err := world.issuer.Sibling(6 * time.Second)
	must(t, err)
	defer issuer.Close()
	exact, first, second := topic(t, world.kafka, "con-exact", 1), topic(t, world.kafka, "con-first", 1), topic(t, world.kafka, "con-second", 1)
	l := asConnector(t, site, world.kafka.OAuthTLS, "TOPIC_LIST=default:"+exact+",plant/1/temp:"+exact,
		"WILDCARD_TOPIC_LIST=plant/+/temp:"+first+",plant/#:"+second, "SASL_SSL=true", "SASL_OAUTHBEARER_CLIENT_ID="+issuer.ID,
		"SASL_OAUTHBEARER_CLIENT_SECRET="+issuer.Secret, "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URI="+issuer.TokenURL, "SSL_CERT_FILE="+world.certs.CA)
	connected(t, l, "broker")
	taps := map[string]*tap{exact: open(t, world.kafka, exact), first: open(t, world.kafka, first), second: open(t, world.kafka, second)}
	d := dial(t, made("paho-go-3"), harness.Options{URL: site.URL("mqtt"), Client: "d", Version: 4})
	before := issuer.Issued()
	rounds := 0
	for ; rounds < 3 || issuer.Issued() < before+2; rounds++ {
		for to, in := range map[string]string{"default": exact, "plant/1/temp": exact, "plant/2/temp": first, "plant/2/rpm": second, "plant": second} {
			text := fmt.Sprint(to, " ", rounds)
			publish(t, d, harness.Message{Topic: to, Payload: []byte(text), QoS: 1})
			taps[in].wait(t, func(r *kgo.Record) bool { return string(r.Value) == text })
		}
	}
	for name, want := range map[string]int{exact: 2 * rounds, first: rounds, second: 2 * rounds} {
		if got := len(taps[name].all(func(*kgo.Record) bool { return true })); got != want {
			t.Errorf("%s: %d records, want %d", name, got, want)
		}
	}
	if log := l.Log(); strings.Contains(log, "12345678") || strings.Contains(log, issuer.Secret) || strings.Contains(log, "plant/1/temp 1") {
		t.Errorf("the log shows what it must not:\n%s", log)
	}
}

// CON-A4, CON-A7, CON-W1, CON-W2: Kafka is away, and the process is killed besides, twice. What the MQTT broker has taken meanwhile waits
// in its session, and arrives in order. CON-A12: that it waits can be seen.
func TestConnectorBacklog_CON_A4_A7(t *testing.T) {
	t.Parallel()
	const n = 200
	site, kafka := withLogin(t), startKafka(t, 1)
	load := topic(t, kafka, "load", 3)
	l := asConnector(t, site, kafka.Addrs()[0], "WILDCARD_TOPIC_LIST=load/+:"+load)
	connected(t, l, "broker")
	var ledger harness.Ledger
	land := func() { // records have the topic as their key
		t.Helper()
		must(t, harness.Read(deadline(t), kafka.Addrs(), func(r *kgo.Record) {
			device, i, err := harness.ParsePayload(r.Value)
			if err != nil || string(r.Key) != "load/"+device {
				t.Errorf("record %s of %s: %v", r.Key, device, err)
			}
			ledger.Arrived(device, i, r.Partition)
		}, load))
	}
	wait := publishers(t, &ledger, 1, n, 10, 0, site.Addr, names("before", 2)...)
	wait()
	kafka.Brokers[0].Kill()
	publishers(t, &ledger, 1, n, 10, 0, site.Addr, names("during", 2)...)()
	must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusServiceUnavailable) }))
	for range 2 {
		l.Kill()
		must(t, l.Launch())
		must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusServiceUnavailable) }))
	}
	publishers(t, &ledger, 1, n, 10, 0, site.Addr, names("after", 2)...)()
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	client := producer(t, kafka)
	must(t, harness.Until(deadline(t), func() error {
		sum, err := harness.Count(deadline(t), client, load)
		if err == nil && sum < 6*n {
			err = fmt.Errorf("%d of %d records", sum, 6*n)
		}
		return err
	}))
	connected(t, l, "broker")
	must(t, harness.Until(deadline(t), func() error {
		if got := gauge(t, l, "linkspan_client_in_flight_messages", "broker"); got > 0 {
			return fmt.Errorf("%v are in flight", got)
		}
		return nil
	}))
	land()
	judge(t, &ledger, true)
}

// CON-A11: the sample clients, against a broker with a login over TLS: topics in turn, an interval, a count.
func TestSampleClients_CON_A11(t *testing.T) {
	t.Parallel()
	site := withLogin(t)
	url := site.URL("mqtts")
	sub, err := harness.NewLinkspan(world.binary, t.TempDir(), 0, func([]int) string { return "" })
	must(t, err)
	sub.Args = []string{"sub", "-b", url, "--ca", world.certs.CA, "-u", "walton", "-n", "30", "sample/#"}
	sub.Env = []string{"MQTT_PASSWORD=12345678"}
	must(t, sub.Launch())
	t.Cleanup(sub.Kill)
	pub, err := harness.NewLinkspan(world.binary, t.TempDir(), 0, func([]int) string { return "" })
	must(t, err)
	pub.Args = []string{"pub", "-b", url, "--ca", world.certs.CA, "-u", "walton", "-n", "30", "-e", "1ms", "-r", "sample/1", "sample/2", "sample/3"}
	pub.Env = sub.Env
	must(t, harness.Until(deadline(t), func() error {
		if !strings.Contains(site.Log(), "sample/#") {
			return errors.New("nobody has subscribed")
		}
		return nil
	}))
	must(t, pub.Launch())
	t.Cleanup(pub.Kill)
	for _, l := range []*harness.Linkspan{pub, sub} {
		code, err := l.Wait(deadline(t))
		if must(t, err); code != 0 {
			t.Errorf("%v: exit code %d\n%s", l.Args, code, l.Log())
		}
	}
}
