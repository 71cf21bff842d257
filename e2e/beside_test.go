package e2e

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// KAL-A7, KAL-W5: a group of processes for one logical partition of the senders is a fleet whose routes name its topic alone. It has one connection to each
// broker, with one process and with two, and says so. What is for another partition waits until there is a group for that, which adds one connection
// to each broker.
func TestLogicalPartitions_KAL_A7(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("logical-%d", topics.Add(1))
	sites := map[string]*harness.Site{"west": ownSite(t, "mosquitto", ""), "east": ownSite(t, "mosquitto", "")}
	proxies := map[string]*harness.Proxy{}
	up := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"mqtt:from/{src}/to/{dest}\", to: \"kafka:{partition src 2}.%s\", key: \"{dest}\"}\n", name))
	var down [2]*crossing
	for partition := range down {
		of := fmt.Sprintf("%d.%s", partition, name)
		must(t, harness.CreateTopic(deadline(t), world.kafka.Addrs(), of, 2, nil))
		down[partition] = newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"kafka:%s\", to: \"mqtt:devices/{key}/commands\", qos: 1, device: \"{key}\", unknown: flood}\n", of))
	}
	for endpoint, site := range sites {
		proxies[endpoint] = throughProxy(t, site.Addr())
		up.endpoints = append(up.endpoints, dialTo(endpoint, site.URL("mqtt")))
		for _, c := range down {
			c.endpoints = append(c.endpoints, dialTo(endpoint, "mqtt://"+proxies[endpoint].Addr()))
		}
	}
	connected(t, up.member(t), "west", "east")
	bob := dial(t, made("paho-go-3"), harness.Options{URL: sites["west"].URL("mqtt"), Client: "bob", Version: 4})
	subscribe(t, bob, harness.Subscription{Filter: "devices/bob/commands", QoS: 1})
	sender := dial(t, made("paho-go-3"), harness.Options{URL: sites["east"].URL("mqtt"), Client: "sender", Version: 4})
	say := func(src, text string) {
		t.Helper()
		publish(t, sender, harness.Message{Topic: "from/" + src + "/to/bob", Payload: []byte(text), QoS: 1})
	}

	first := []*harness.Linkspan{down[0].member(t)}
	oneEach(t, proxies, first)
	first = append(first, down[0].member(t))
	oneEach(t, proxies, first)
	say("cyclops", "one") // KAL-A6: he is of partition 0, and archangel of 1
	say("archangel", "two")
	open(t, world.kafka, "1."+name).wait(t, saying("bob", "two"))
	say("cyclops", "three")
	commanded(t, bob, "bob", "one")
	commanded(t, bob, "bob", "three")

	second := down[1].members(t, 2)
	commanded(t, bob, "bob", "two")
	oneEach(t, proxies, first, second)
}

// oneEach waits until each group of processes has one connection to each broker, and nobody else has any.
func oneEach(t *testing.T, proxies map[string]*harness.Proxy, groups ...[]*harness.Linkspan) {
	t.Helper()
	for endpoint, p := range proxies {
		for _, members := range groups {
			owner(t, members, endpoint)
		}
		must(t, harness.Until(deadline(t), func() error {
			if n := p.Open(); n != len(groups) {
				return fmt.Errorf("the broker of %s has %d connections, want %d", endpoint, n, len(groups))
			}
			return nil
		}))
	}
}

// KAL-A14: Linkspan beside brokers, and as one itself, at once. Two processes are connected to each of two brokers, and listen to devices
// besides. What devices publish in any of the four places is in Kafka once, and each process has its part of what comes from a broker; a record goes
// to devices in all four.
func TestBeside_KAL_A14(t *testing.T) {
	t.Parallel()
	sites := []*harness.Site{ownSite(t, "mosquitto", ""), ownSite(t, "mosquitto", "")}
	up, down := topic(t, world.kafka, "beside-up", 3), topic(t, world.kafka, "beside-down", 3)
	c := newCrossing(t, world.kafka, loadRoutes(up)+fmt.Sprintf("  - {from: \"kafka:%s\", to: \"mqtt:devices/all/commands\", qos: 1}\n", down))
	var both []*harness.Linkspan
	for i := range 2 {
		both = append(both, start(t, 1, func(p []int) string {
			c.endpoints = []string{fmt.Sprintf("own: {listen: \"mqtt://%s\"}", harness.Loopback(p[0]))}
			for n, site := range sites {
				c.endpoints = append(c.endpoints, dialTo(fmt.Sprint("site-", n), site.URL("mqtt"), "mode: all", fmt.Sprintf("client_id: member-%d", i)))
			}
			return c.config()
		}))
		connected(t, both[i], "site-0", "site-1")
	}
	var ledger harness.Ledger
	land(t, world.kafka, &ledger, up)
	enough := make(chan struct{})
	var all []*harness.Publisher
	var devices []harness.Device
	for i, addr := range []string{sites[0].Addr(), sites[1].Addr(), both[0].Addr(0), both[1].Addr(0)} {
		name := fmt.Sprint("place-", i)
		all = append(all, &harness.Publisher{Addr: func() string { return addr }, Client: name, Topic: "load/" + name, QoS: 1, Enough: enough, Window: 10, Ledger: &ledger})
		devices = append(devices, dial(t, made("paho-go-3"), harness.Options{URL: "mqtt://" + addr, Client: "ear of " + name, Version: 4}))
		subscribe(t, devices[i], harness.Subscription{Filter: "devices/all/commands", QoS: 1})
	}
	wait := publishing(t, all...)
	for _, l := range both {
		for n := range sites {
			must(t, harness.Until(deadline(t), func() error {
				if got := gauge(t, l, "linkspan_client_acked_messages_total", fmt.Sprint("site-", n)); got < 10 {
					return fmt.Errorf("a process has had %v messages from broker %d", got, n)
				}
				return nil
			}))
		}
	}
	must(t, producer(t, world.kafka).ProduceSync(deadline(t), record(down, "all", []byte("ahoy"))).FirstErr())
	for _, d := range devices {
		commanded(t, d, "all", "ahoy")
	}
	close(enough)
	wait()
	complete(t, &ledger)
	if r := ledger.Report(); r.Arrived != r.Sent || r.Duplicates > 0 { // who shares a subscription keeps no order
		t.Error(r)
	}
}
