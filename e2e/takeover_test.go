package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// holders waits until exactly one process holds each broker's connection, as the proxies before the brokers count them too.
func holders(t *testing.T, members []*harness.Linkspan, proxies map[string]*harness.Proxy) map[string]int {
	t.Helper()
	held := map[string]int{}
	for endpoint, p := range proxies {
		held[endpoint] = owner(t, members, endpoint)
		must(t, harness.Until(deadline(t), func() error {
			if n := p.Open(); n != 1 {
				return fmt.Errorf("the broker of %s has %d connections", endpoint, n)
			}
			return nil
		}))
	}
	return held
}

// P5, P7, KAL-A10: with all settings as they are by default, the process that runs an endpoint is killed under load, both ways, and
// another one takes over with the same session; then that one is killed, after the first is back. How long it takes is printed.
func TestTakeover_KAL_A10(t *testing.T) {
	t.Parallel()
	const n = 1000
	site := ownSite(t, "mosquitto", "")
	proxy := throughProxy(t, site.Addr())
	upTopic, downTopic := topic(t, world.kafka, "takeover-up", 3), topic(t, world.kafka, "takeover-down", 3)
	c := newCrossing(t, world.kafka, loadRoutes(upTopic)+fmt.Sprintf("  - {from: \"kafka:%s\", to: \"mqtt:devices/{key}/commands\", qos: 1}\n", downTopic),
		dialTo("plant", "mqtt://"+proxy.Addr()))
	c.lanes = 0
	both := c.members(t, 2)
	held := holders(t, both, map[string]*harness.Proxy{"plant": proxy})["plant"]

	var up, down harness.Ledger
	land(t, world.kafka, &up, upTopic)
	subscriber(t, site.Addr, "subscriber", 1, &down)
	wait := publishers(t, &up, 1, n, 10, 20*time.Millisecond, site.Addr, names("one", 2)...)
	commands := make(chan error, 1)
	client, ctx := producer(t, world.kafka), deadline(t)
	go func() {
		commands <- command(ctx, client, &down, downTopic, []listener{{name: "subscriber"}}, n, 20*time.Millisecond)
	}()
	arrived(t, &up, 200)
	for range 2 {
		both[held].Kill()
		killed := time.Now()
		_, _, before := up.Counts()
		arrived(t, &up, min(before+50, 2*n)) // on a slow machine all may have been published by now
		t.Logf("messages arrive again %v after the kill", time.Since(killed).Round(10*time.Millisecond))
		next := holders(t, both, map[string]*harness.Proxy{"plant": proxy})["plant"]
		if next == held {
			t.Error("the dead process holds the connection")
		}
		must(t, both[held].Start(deadline(t)))
		held = next
	}
	wait()
	must(t, <-commands)
	settled(t, &up, true)
	settled(t, &down, true)
	if got := gauge(t, both[held], "linkspan_client_resumed_sessions_total", "plant"); got == 0 {
		t.Error("the session was not resumed")
	}
}

// KAL-A7, KAL-A10, KAL-W5, P5, P7: three processes, three brokers. The brokers have three connections in all, with one, two and three
// processes. Under load one of each is killed in turn: a process, a broker that writes first, Kafka; then a process is stopped
// in good order. All that was acknowledged arrives, in order.
func TestEverythingKilled_KAL_A10(t *testing.T) {
	t.Parallel()
	untilShown(t, func() bool { return everythingKilled(t) })
}

func everythingKilled(t *testing.T) bool {
	t.Helper()
	const n = 600
	kafka := startKafka(t, 1)
	up := topic(t, kafka, "up", 3)
	sites := map[string]*harness.Site{"fore": ownSite(t, "mosquitto", ""), "mid": ownSite(t, "mosquitto", ""), "aft": ownSite(t, "activemq", "")}
	proxies := map[string]*harness.Proxy{}
	c := newCrossing(t, kafka, loadRoutes(up, "ack: kafka"))
	c.lanes = 0
	for name, site := range sites {
		proxies[name] = throughProxy(t, site.Addr())
		c.endpoints = append(c.endpoints, dialTo(name, "mqtt://"+proxies[name].Addr(), "reconnect: {max: 1s}"))
	}
	members := []*harness.Linkspan{c.member(t)}
	holders(t, members, proxies)
	members = append(members, c.members(t, 2)...)
	held := holders(t, members, proxies)

	var ledger harness.Ledger
	land(t, kafka, &ledger, up)
	var waits []func()
	for name, site := range sites {
		waits = append(waits, publishers(t, &ledger, 1, n, 10, 20*time.Millisecond, site.Addr, names(name, 2)...))
	}
	total := 0
	step := func() {
		t.Helper()
		total += n
		arrived(t, &ledger, total)
	}
	step()
	members[held["fore"]].Kill()
	step()
	must(t, members[held["fore"]].Start(deadline(t)))
	sites["aft"].Kill()
	must(t, sites["aft"].Start(deadline(t)))
	step()
	kafka.Brokers[0].Kill()
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	step()
	held = holders(t, members, proxies)
	code, err := members[held["mid"]].Stop(deadline(t))
	must(t, err)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, wait := range waits {
		wait()
	}
	holders(t, members, proxies)
	return shows(t, sites["aft"], &ledger)
}

// P1, P5: the process that runs the endpoint is cut off from Kafka, and not from the broker, and does not die. Another one takes
// over, and the broker throws the old connection out. When Kafka is back for the first, there is still one connection, and nothing is lost. With
// `ack: kafka` the order holds, too: what the first one could not get rid of has stayed with the broker. With the default it is in the
// first one's spool, and comes behind what the second one has sent.
func TestZombie(t *testing.T) {
	t.Parallel()
	for _, ack := range []string{"kafka", "kafka-else-spool"} {
		t.Run(ack, func(t *testing.T) {
			t.Parallel()
			zombie(t, ack)
		})
	}
}

func zombie(t *testing.T, ack string) {
	const n = 600
	site := ownSite(t, "mosquitto", "")
	proxy := throughProxy(t, site.Addr())
	up := topic(t, world.kafka, "up", 3)
	c := newCrossing(t, world.kafka, loadRoutes(up, "ack: "+ack), dialTo("plant", "mqtt://"+proxy.Addr()))
	c.lanes = 1 // which the first process keeps when the second one comes, unless that takes it for dead
	var ways []harness.Network
	var members []*harness.Linkspan
	for i := range 2 {
		ways = append(ways, network(t))
		c.kafka = ways[i].Addrs()
		members = append(members, c.member(t))
		owner(t, members, "plant")
	}

	var ledger harness.Ledger
	land(t, world.kafka, &ledger, up)
	held := owner(t, members, "plant")
	wait := publishers(t, &ledger, 1, n, 10, 20*time.Millisecond, site.Addr, names("one", 2)...)
	arrived(t, &ledger, 100)
	ways[held].BlackHole()
	must(t, harness.Until(deadline(t), func() error {
		if gauge(t, members[1-held], "linkspan_client_connections", "plant") != 1 {
			return errors.New("nobody has taken over")
		}
		return nil
	}))
	must(t, ways[held].Heal())
	wait()
	if ack == "kafka" {
		settled(t, &ledger, true)
	} else {
		complete(t, &ledger)
	}
	holders(t, members, map[string]*harness.Proxy{"plant": proxy})
}

// The processes of a fleet are restarted one by one under load, as an upgrade does it: nothing is lost, and nothing comes twice.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const n = 600
	site := ownSite(t, "mosquitto", "")
	up := topic(t, world.kafka, "rolling-up", 3)
	c := newCrossing(t, world.kafka, loadRoutes(up), dialTo("plant", site.URL("mqtt")))
	c.calm = true
	both := c.members(t, 2)
	owner(t, both, "plant")
	var ledger harness.Ledger
	land(t, world.kafka, &ledger, up)
	wait := publishers(t, &ledger, 1, n, 10, 20*time.Millisecond, site.Addr, names("one", 2)...)
	for i, l := range both {
		arrived(t, &ledger, 200*(i+1))
		code, err := l.Stop(deadline(t))
		if must(t, err); code != 0 {
			t.Errorf("exit code %d", code)
		}
		must(t, l.Start(deadline(t)))
		owner(t, both, "plant")
	}
	wait()
	settled(t, &ledger, false)
}

// mode: all. Every process is connected and shares the subscription; one is killed, the others go on at once, and the broker keeps for the dead
// one's session what it had been given, or gives it to the others.
func TestModeAll(t *testing.T) {
	t.Parallel()
	const n = 600
	site := ownSite(t, "mosquitto", "")
	up := topic(t, world.kafka, "all-up", 3)
	c := newCrossing(t, world.kafka, loadRoutes(up))
	var members []*harness.Linkspan
	for i := range 3 {
		c.endpoints = []string{dialTo("plant", site.URL("mqtt"), "mode: all", "share: plant", fmt.Sprintf("client_id: plant-%d", i))}
		members = append(members, c.member(t))
		connected(t, members[i], "plant")
	}
	var ledger harness.Ledger
	land(t, world.kafka, &ledger, up)
	wait := publishers(t, &ledger, 1, n, 10, 10*time.Millisecond, site.Addr, names("one", 2)...)
	arrived(t, &ledger, 300)
	members[0].Kill()
	wait()
	must(t, members[0].Start(deadline(t)))
	complete(t, &ledger)
	t.Log(ledger.Report())
	for i, l := range members[1:] {
		if gauge(t, l, "linkspan_client_acked_messages_total", "plant") == 0 {
			t.Errorf("process %d had no part", i+1)
		}
	}
}
