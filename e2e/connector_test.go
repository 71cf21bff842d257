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
	for line := range l.Lines() {
		if strings.Contains(line, "12345678") || strings.Contains(line, issuer.Secret) || strings.Contains(line, "plant/1/temp 1") {
			t.Errorf("the log shows what it must not: %s", line)
		}
	}
}

// CON-A4, CON-A5, CON-A7, CON-W1, CON-W2: Kafka is away, and the process is killed besides, twice. What it has taken of the MQTT broker is on
// disk, is there after each restart, and gets to Kafka, oldest first, when that is back. CON-A12: depth and age of the backlog can be seen.
func TestConnectorProfile_CON_A4_A7_A12(t *testing.T) {
	t.Parallel()
	const n = 200
	site, kafka := withLogin(t), network(t)
	load := topic(t, world.kafka, "load", 1)
	l := asConnector(t, site, kafka.Addrs()[0], "WILDCARD_TOPIC_LIST=load/+:"+load, "DB_PERSIST_PATH="+t.TempDir()+"/")
	connected(t, l, "broker")
	var ledger harness.Ledger
	publish := func(prefix string) {
		t.Helper()
		publishers(t, &ledger, 1, n, 10, 0, site.Addr, names(prefix, 2)...)()
	}
	land(t, world.kafka, &ledger, load)
	publish("before")
	arrived(t, &ledger, 2*n)
	kafka.Refuse()
	backlog, age := 0.0, 0.0
	for _, prefix := range []string{"first", "second"} {
		publish(prefix)
		backlog += 2 * n
		reads(t, l, spoolDepth, atLeast(backlog))
		must(t, says(deadline(t), l, http.StatusOK, "degraded"))
		age = reads(t, l, spoolAge, func(v float64) bool { return v > age })
		l.Kill()
		must(t, l.Launch())
		connected(t, l, "broker")
		reads(t, l, spoolDepth, atLeast(backlog))
		reads(t, l, spoolAge, func(v float64) bool { return v > age })
	}
	must(t, kafka.Heal())
	reads(t, l, spoolDepth, exactly(0))
	must(t, says(deadline(t), l, http.StatusOK, "ok"))
	settled(t, &ledger, true)
	publish("after")
	settled(t, &ledger, true)
	oldestFirst(t, load, "first", "second", "after")
}

// oldestFirst checks that of each of these the first record is in the topic, of one partition, before that of the next.
func oldestFirst(t *testing.T, topic string, prefixes ...string) {
	t.Helper()
	seen := map[string]int64{}
	must(t, harness.Read(deadline(t), world.kafka.Addrs(), func(r *kgo.Record) {
		device, _, err := harness.ParsePayload(r.Value)
		must(t, err)
		prefix, _, _ := strings.Cut(device, "-")
		seen[prefix] = r.Offset // of the last
	}, topic))
	for i, prefix := range prefixes[1:] {
		if before := prefixes[i]; seen[before] == 0 || seen[before] > seen[prefix] {
			t.Errorf("of %s the last record is at %d, of %s at %d", before, seen[before], prefix, seen[prefix])
		}
	}
}

// CON-A7: without a directory for its store it keeps all in memory, as connector does, and says so.
func TestConnectorProfileInMemory_CON_A7(t *testing.T) {
	t.Parallel()
	load := topic(t, world.kafka, "load", 1)
	l := asConnector(t, withLogin(t), world.kafka.Addrs()[0], "WILDCARD_TOPIC_LIST=load/+:"+load)
	connected(t, l, "broker")
	warned := false
	for line := range l.Lines() {
		warned = warned || strings.Contains(line, "level=WARN") && strings.Contains(line, "memory") && strings.Contains(line, "lost")
	}
	if !warned {
		t.Errorf("no warning:\n%s", l.Log())
	}
}

// CON-A6: INVOKE_MAX_GOROUTINE bounds what is on its way to Kafka out of the store.
func TestConnectorProfileInFlight_CON_A6(t *testing.T) {
	t.Parallel()
	const n = 300
	site := withLogin(t)
	for _, most := range []int{40, 3} {
		kafka := network(t)
		load := topic(t, world.kafka, "load", 1)
		kafka.Refuse()
		l := asConnector(t, site, kafka.Addrs()[0], "WILDCARD_TOPIC_LIST=load/+:"+load, "DB_PERSIST_PATH="+t.TempDir()+"/", "INVOKE_LATENCY_SEC=1",
			fmt.Sprint("INVOKE_MAX_GOROUTINE=", most), "INVOKE_MIN_GOROUTINE=1")
		connected(t, l, "broker")
		var ledger harness.Ledger
		publishers(t, &ledger, 1, n, 10, 0, site.Addr, "device")()
		reads(t, l, spoolDepth, exactly(n))
		kafka.Delay(300 * time.Millisecond) // so that what is on its way can be seen
		must(t, kafka.Accept())
		reads(t, l, "linkspan_kafka_in_flight_records", func(v float64) bool {
			if v > float64(most) {
				t.Errorf("%v records are on their way, more than %d", v, most)
			}
			return v == float64(most)
		})
		kafka.Delay(0)
		l.Kill()
	}
}

// CON-A6, CON-W4: with a small INVOKE_LATENCY_SEC Kafka is tried more often while it is away.
func TestConnectorProfileInterval_CON_A6(t *testing.T) {
	t.Parallel()
	site := withLogin(t)
	tried := func(seconds int) *harness.Proxy {
		ports, err := harness.Ports(1) // where nobody listens
		must(t, err)
		kafka := throughProxy(t, harness.Loopback(ports[0]))
		asConnector(t, site, kafka.Addr(), "WILDCARD_TOPIC_LIST=load/+:load", "DB_PERSIST_PATH="+t.TempDir()+"/", fmt.Sprint("INVOKE_LATENCY_SEC=", seconds))
		return kafka
	}
	often, seldom := tried(1), tried(60)
	must(t, harness.Until(deadline(t), func() error {
		if a, b := often.Total(), seldom.Total(); b == 0 || a < 4*b {
			return fmt.Errorf("tried %d times, and %d times", a, b)
		}
		return nil
	}))
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
		if !site.Said("sample/#") {
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
