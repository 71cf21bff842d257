package bridge

import (
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A coast is two brokers, two processes of one fleet that dial both and have a listener each, and the Kafka between them.
type coast struct {
	t         *testing.T
	east      *site
	west      *site
	processes []*instance
	k         *kafka.Client
}

const coastRoutes = `
routes:
- {from: "mqtt:from/{device}/#", to: kafka:up, key: "{device}", device: "{device}"}
- {from: "mqtt:presence/{device}", to: kafka:presence, key: "{device}", device: "{device}", presence: {offline: [gone]}}
- {from: kafka:commands, to: "mqtt:to/{key}", device: "{key}"}
- {from: kafka:flooded, to: "mqtt:to/{key}", device: "{key}", unknown: flood}
- {from: kafka:checked, to: "mqtt:to/{key}", device: "{key}", unknown: dead-letter}
`

func newCoast(t *testing.T, more string) *coast {
	t.Helper()
	at := embedded(t)
	c := &coast{t: t, east: newSite(t, packet.V5), west: newSite(t, packet.V311), k: cluster(t, at)}
	text := `
kafka: {brokers: [` + at + `], consumer: {commit_interval: 50ms}}
endpoints: {east: {dial: "` + c.east.url() + `"}, west: {dial: "` + c.west.url() + `"}}` + more + coastRoutes
	for range 2 {
		c.processes = append(c.processes, start(t, parse(t, text)))
	}
	c.east.connected("linkspan-east")
	c.west.connected("linkspan-west")
	return c
}

// sum adds up a metric of all processes.
func (c *coast) sum(metric string) (n int) {
	for _, p := range c.processes {
		v, _ := strconv.Atoi(p.metric("linkspan_" + metric))
		n += v
	}
	return n
}

// seen waits until all processes know that so many devices are somewhere.
func (c *coast) seen(devices int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d devices are known", devices), func() bool { return c.sum("devices_located") == devices*len(c.processes) })
}

// learned waits until so many sightings were news.
func (c *coast) learned(n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d sightings were news", n), func() bool { return c.sum(`device_sightings_total{kind="learned"}`) == n })
}

func (c *coast) command(topic, device, value string) { produce(c.t, c.k, topic, device, value) }

// arrives waits until a device's broker has got these, and no others.
func (c *coast) arrives(at *site, device string, want ...string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%v arrive at %s", want, device), func() bool { return len(at.payloads("to/"+device)) >= len(want) })
	if got := at.payloads("to/" + device); !slices.Equal(got, want) {
		c.t.Errorf("%s got %v, want %v", device, got, want)
	}
}

// A record for a device gets to the broker where the device is, and to no other (KAL-A2); when the device moves, what comes later
// follows it, and the late word of its leaving the old broker changes nothing (KAL-A8).
func TestRecordsFindTheirDevice(t *testing.T) {
	t.Parallel()
	c := newCoast(t, "")
	c.east.publish("from/pump/rpm", "1")
	c.seen(1)
	for i := range 20 {
		c.command("commands", "pump", fmt.Sprint(i))
	}
	first := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19"}
	c.arrives(c.east, "pump", first...)

	c.west.publish("from/pump/rpm", "2") // it has moved
	c.learned(2)
	eventually(t, "all processes know", func() bool {
		return !slices.ContainsFunc(c.processes, func(p *instance) bool {
			at, _ := p.bridge.member.finder.places.Find("pump")
			return at != "west"
		})
	})
	c.east.publish("presence/pump", "gone")
	eventually(t, "the word of its leaving is stored", func() bool { return len(records(t, c.k, "presence")) == 1 })
	c.command("commands", "pump", "after the move")
	c.arrives(c.west, "pump", "after the move")
	c.arrives(c.east, "pump", first...)
	eventually(t, "all went through an inbox", func() bool { return c.sum(`router_records_total{outcome="inbox"}`) == 21 })
}

// What becomes of a record whose device nobody has seen is the route's choice: it waits and comes in order with what follows
// (P3), goes to all brokers, or is in the dead letter topic with the reason (P2).
func TestDevicesThatNobodyHasSeen(t *testing.T) {
	t.Parallel()
	c := newCoast(t, "")
	c.command("commands", "crane", "1")
	c.command("commands", "crane", "2")
	eventually(t, "they are parked, and all processes know", func() bool { return c.sum("parked_records") == 2*len(c.processes) })
	c.command("flooded", "ship", "to all")
	c.arrives(c.east, "ship", "to all")
	c.arrives(c.west, "ship", "to all")
	c.command("checked", "wreck", "to nobody")
	eventually(t, "it is in the dead letter topic", func() bool { return len(records(t, c.k, "linkspan.deadletter")) == 1 })
	letter := records(t, c.k, "linkspan.deadletter")[0].Record
	for header, want := range map[string]string{
		"linkspan.reason": "nobody has seen the device that the record is for", "linkspan.topic": "checked", "linkspan.partition": "0", "linkspan.offset": "0",
		"linkspan.route": "route-5",
	} {
		if got := string(letter.Header(header)); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if string(letter.Key) != "wreck" {
		t.Errorf("key %s", letter.Key)
	}
	eventually(t, "it is counted", func() bool { return c.sum(`dead_letters_total{endpoint="",reason="unknown_device"}`) == 1 })

	c.west.publish("presence/crane", "here")
	c.command("commands", "crane", "3")
	c.arrives(c.west, "crane", "1", "2", "3")
	eventually(t, "nothing is parked", func() bool { return c.sum("parked_records") == 0 })
	c.arrives(c.east, "crane")
	c.arrives(c.west, "crane", "1", "2", "3")
}

// What waits for a device for longer than park_for is in the dead letter topic (P2).
func TestParkedTooLong(t *testing.T) {
	t.Parallel()
	c := newCoast(t, "\nfleet: {park_for: 1s}")
	c.command("commands", "crane", "1")
	eventually(t, "it is in the dead letter topic", func() bool { return len(records(t, c.k, "linkspan.deadletter")) == 1 })
	letter := records(t, c.k, "linkspan.deadletter")[0]
	if got := string(letter.Record.Header("linkspan.reason")); got != "the device that the record is for was not seen while it was parked" || string(letter.Payload) != "1" {
		t.Errorf("%s: %s", got, letter.Payload)
	}
	eventually(t, "nothing is parked", func() bool { return c.sum("parked_records") == 0 })
}

// A device that is on a listener gets what is for it from there, and no broker does.
func TestDeviceOnAListener(t *testing.T) {
	t.Parallel()
	c := newCoast(t, "")
	d := c.processes[1].device("winch")
	d.Subscribe(1, packet.Subscription{Filter: "to/winch", QoS: 1})
	d.Send(publish("from/winch/rpm", "1", 1, 2))
	d.ExpectAck(packet.PUBACK, 2, packet.Success)
	c.seen(1)
	c.command("commands", "winch", "stop")
	var got packet.Publish
	d.Expect(packet.PUBLISH, &got)
	if string(got.Payload) != "stop" {
		t.Errorf("got %s", got.Payload)
	}
	eventually(t, "the router leaves it alone", func() bool { return c.sum(`router_records_total{outcome="local"}`) == 1 })
	c.arrives(c.east, "winch")
	c.arrives(c.west, "winch")
}

// A process that is killed while records for devices are on their way takes none with it, whatever it was doing for the fleet
// (KAL-A10, P5), and each device gets its records in order, but for repeats (P3).
func TestRecordsFindTheirDeviceThroughAKill(t *testing.T) {
	t.Parallel()
	at := embedded(t)
	k := cluster(t, at)
	sites := map[string]*site{"east": newSite(t, packet.V5), "west": newSite(t, packet.V5)}
	text := `
kafka: {brokers: [` + at + `], consumer: {commit_interval: 50ms}}
fleet: {session_timeout: 2s}
endpoints:
  east: {dial: "` + sites["east"].url() + `", username: %[1]s}
  west: {dial: "` + sites["west"].url() + `", username: %[1]s}` + coastRoutes
	procs := map[string]*proc{}
	for _, name := range []string{"first", "second"} {
		procs[name] = spawn(t, fmt.Sprintf(text, name))
	}
	for name, s := range sites {
		s.connected("linkspan-" + name)
		s.publish("from/at-"+name+"/x", "here")
	}
	var want []string
	more := func() {
		for range 30 {
			want = append(want, fmt.Sprint(len(want)))
			for name := range sites {
				produce(t, k, "commands", "at-"+name, want[len(want)-1])
			}
		}
	}
	more()
	procs[sites["east"].owner("linkspan-east")].signal(t, syscall.SIGKILL)
	more()
	for name, s := range sites {
		eventually(t, "all has arrived in the "+name, func() bool { return len(firsts(s.payloads("to/at-"+name))) == len(want) })
		if got := firsts(s.payloads("to/at-" + name)); !slices.Equal(got, want) {
			t.Errorf("in the %s: %v", name, got)
		}
	}
	if letters := records(t, k, "linkspan.deadletter"); len(letters) > 0 {
		t.Errorf("%d dead letters, the first: %v", len(letters), letters[0].Record.Headers)
	}
}
