package amqp_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
)

// feed stores numbered messages in a partition.
func (b *berth) feed(topic string, partition int32, from, to int) {
	for i := from; i < to; i++ {
		m := &linkspan.Message{Topic: topic, Payload: fmt.Append(nil, i)}
		m.Record.Partition = partition
		b.kafka.Send(b.t.Context(), m, func(err error) {
			if err != nil {
				b.t.Error(err)
			}
		})
	}
}

func numbers(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// receive takes n messages and returns their bodies.
func receive(t *testing.T, r *amqptest.Receiver, n int, settle func(*amqptest.Received)) (bodies []string) {
	t.Helper()
	for range n {
		m := r.Receive()
		bodies = append(bodies, body(t, m.Payload))
		settle(m)
	}
	return bodies
}

func accept(m *amqptest.Received) { m.Accept() }

// AKB-A5: records come in order, with where they are from as annotations and tag; each group gets all.
func TestGroups(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 20)
	c := b.dial()
	for _, g := range []string{"g", "h"} {
		r := c.Receiver("t/group.id/"+g, 7)
		for i := range 20 {
			d := r.Receive()
			var m frame.Message
			if err := m.Decode(d.Payload); err != nil {
				t.Fatal(err)
			}
			offset, _ := m.MessageAnnotations.Get("x-opt-bridge.offset").Int()
			topic, _ := m.MessageAnnotations.Get("x-opt-bridge.topic").Text()
			if got := string(m.Body[0].Data()); got != fmt.Sprint(i) || offset != int64(i) || topic != "t" || d.Tag != fmt.Sprint("0_", i) {
				t.Fatalf("message %d: %q with offset %d of %q, tag %q", i, got, offset, topic, d.Tag)
			}
			d.Accept()
			r.Grant(1)
		}
		until(t, "a position", func() bool { return b.kafka.settled(g, "t") == 20 })
	}
}

// AKB-A10: nothing is sent without credit, and what there is stays in Kafka.
func TestCreditOfReceivers(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 10)
	r := b.dial().Receiver("t/group.id/g", 3)
	equal(t, "the first", receive(t, r, 3, accept), numbers(0, 3))
	until(t, "three settled", func() bool { return b.kafka.settled("g", "t") == 3 })
	if n := r.Waiting(); n != 0 {
		t.Fatalf("%d more than credit", n)
	}
	r.Grant(7)
	equal(t, "the rest", receive(t, r, 7, accept), numbers(3, 10))
}

// AKB-A10: a receiver that drains gets what there is, and gives up the rest of its credit [AMQP 2.6.10].
func TestDrain(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 5)
	r := b.dial().Receiver("t/group.id/g", 0)
	r.Grant(20)
	r.Drain()
	until(t, "the answer", func() bool {
		if r.Link.Credit() == 0 && r.Waiting() < 5 { // a slow machine: the rest was not there in time
			r.Grant(20)
			r.Drain()
		}
		return r.Waiting() == 5 && r.Link.Credit() == 0
	})
	equal(t, "what there is", receive(t, r, 5, accept), numbers(0, 5))
	b.feed("t", 0, 5, 6)
	r.Grant(1)
	equal(t, "what comes later", receive(t, r, 1, accept), numbers(5, 6))
}

// AKB-A5, A12: receivers of a group share its partitions; one too many waits for its turn.
func TestSurplusIdles(t *testing.T) {
	b := run(t, setup{topics: map[string]int{"t": 2}})
	c := b.dial()
	var all []*amqptest.Receiver
	for range 3 {
		all = append(all, c.Receiver("t/group.id/g", 10))
	}
	b.feed("t", 0, 0, 2)
	b.feed("t", 1, 0, 2)
	until(t, "four deliveries", func() bool { return all[0].Waiting()+all[1].Waiting()+all[2].Waiting() == 4 })
	idle := slices.IndexFunc(all, func(r *amqptest.Receiver) bool { return r.Waiting() == 0 })
	if idle < 0 {
		t.Fatal("nobody is one too many")
	}
	for i, r := range all {
		if i != idle {
			receive(t, r, r.Waiting(), accept)
			r.Close()
			break
		}
	}
	b.feed("t", 0, 2, 3)
	b.feed("t", 1, 2, 3)
	until(t, "deliveries to the others", func() bool { return b.Stats().Delivered.Load() == 6 && all[idle].Waiting() == 1 })
}

// AKB-A12: or it is told so.
func TestSurplusIsDetached(t *testing.T) {
	b := run(t, setup{change: func(c *amqp.ListenerConfig) { c.Surplus = amqp.SurplusDetach }})
	c := b.dial()
	first := c.Receiver("t/group.id/g", 1)
	second, err := c.TryReceiver(frame.Attach{Source: &frame.Source{Address: frame.Some("t/group.id/g")}})
	if err == nil {
		err = second.Ended() // it is told when the group knows
	}
	if err == nil || err.Condition != "io.strimzi:no-free-partitions" {
		t.Errorf("the second ended with %v", err)
	}
	b.feed("t", 0, 0, 1)
	equal(t, "the first receives", receive(t, first, 1, accept), numbers(0, 1))
}

// AKB-A9: only accepted and rejected settle; released and modified come again, in front of what is newer.
func TestOutcomesOfReceivers(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 3)
	r := b.dial().Receiver("t/group.id/g", 1)
	next := func() *amqptest.Received { // and the one after it is no longer on its way
		m := r.Receive()
		until(t, "the group rests", b.kafka.rests)
		return m
	}
	next().Release()
	r.Grant(1)
	m := next()
	if got := body(t, m.Payload); got != "0" || count(t, m) != 0 {
		t.Fatalf("after released: %s, count %d", got, count(t, m))
	}
	m.Modify(true, false)
	r.Grant(1)
	m = next()
	if got := body(t, m.Payload); got != "0" || count(t, m) != 1 {
		t.Fatalf("after modified: %s, count %d", got, count(t, m))
	}
	m.Reject("app:broken", "cannot be read")
	until(t, "a dead letter", func() bool { return b.kafka.settled("g", "t") == 1 })
	equal(t, "dead letters", b.kafka.letters, []string{"0: rejected by the receiver: rejected by a receiver of t/group.id/g: app:broken: cannot be read"})
	r.Grant(1)
	m = next()
	m.Modify(true, true) // there is nobody else
	until(t, "another", func() bool { return b.kafka.settled("g", "t") == 2 })
	r.Grant(1)
	equal(t, "the last", receive(t, r, 1, accept), numbers(2, 3))
	for i, want := range []uint64{1, 1, 1, 2} {
		until(t, fmt.Sprint(want, " of outcome ", i), func() bool { return b.Stats().Outcomes[i].Load() == want })
	}
}

func count(t *testing.T, d *amqptest.Received) uint32 {
	var m frame.Message
	if err := m.Decode(d.Payload); err != nil {
		t.Fatal(err)
	}
	return m.Header.DeliveryCount
}

// AKB-A8: what is not settled when a receiver is gone comes again, in order, and nothing of the settled prefix does.
func TestReceiverGoesAway(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 10)
	c := b.dial()
	r := c.Receiver("t/group.id/g", 10)
	var got []*amqptest.Received
	for range 10 {
		got = append(got, r.Receive())
	}
	for _, i := range []int{0, 1, 2, 5, 9} {
		got[i].Accept()
	}
	until(t, "five settled", func() bool { return b.Stats().Outcomes[0].Load() == 5 })
	c.Kill()
	until(t, "the end of the group here", func() bool { return b.groups.Stats().Groups.Load() == 0 })
	again := b.dial().Receiver("t/group.id/g", 10)
	equal(t, "again", receive(t, again, 7, accept), numbers(3, 10)) // the group begins anew behind the prefix
	until(t, "all settled", func() bool { return b.Stats().Unsettled.Load() == 0 })
}

// A receiver of settled messages gets each once, and is asked nothing.
func TestSettledReceiver(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 5)
	r, err := b.dial().TryReceiver(frame.Attach{Source: &frame.Source{Address: frame.Some("t/group.id/g")}, SenderSettleMode: frame.SendSettled})
	if err != nil {
		t.Fatal(err)
	}
	r.Grant(5)
	for i := range 5 {
		if m := r.Receive(); body(t, m.Payload) != fmt.Sprint(i) || !m.RemotelySettled() {
			t.Errorf("message %d: %q, settled %v", i, m.Payload, m.RemotelySettled())
		}
	}
	until(t, "all settled", func() bool { return b.kafka.settled("g", "t") == 5 })
}

// P6: a receiver with endless credit that settles nothing gets no more than it may have.
func TestUnsettledIsBounded(t *testing.T) {
	b := run(t, setup{change: func(c *amqp.ListenerConfig) { c.Unsettled = 3 }})
	b.feed("t", 0, 0, 7)
	r := b.dial().Receiver("t/group.id/g", 1000)
	var got []*amqptest.Received
	for range 3 {
		got = append(got, r.Receive())
	}
	if n := b.Stats().Unsettled.Load(); n != 3 || r.Waiting() != 0 {
		t.Fatalf("%d unsettled, %d more have come", n, r.Waiting())
	}
	for _, m := range got {
		m.Accept()
	}
	equal(t, "the rest", receive(t, r, 4, accept), numbers(3, 7))
}

// AKB-A6: one partition, from an offset on.
func TestPartitionAndOffset(t *testing.T) {
	b := run(t, setup{topics: map[string]int{"a/b": 3, "a.b": 3}})
	b.feed("a.b", 2, 0, 10)
	set := frame.BeginMap(nil)
	set = frame.AppendInt(frame.AppendSymbol(set, "io.strimzi:partition-filter:int"), 2)
	set = frame.AppendLong(frame.AppendSymbol(set, "io.strimzi:offset-filter:long"), 7)
	c := b.dial()
	r, err := c.TryReceiver(frame.Attach{Source: &frame.Source{Address: frame.Some("a/b/group.id/g"), Filter: frame.EndMap(set, 0, 2)}})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Link.Remote().Source.Filter.Len(); n != 2 {
		t.Errorf("%d filters are in place [AMQP 3.5.3]", n)
	}
	r.Grant(10)
	equal(t, "from offset 7", receive(t, r, 3, accept), numbers(7, 10))
}

// AKB-A7: each bad address or filter is refused with its condition, and the connection stays open.
func TestRefusedReceivers(t *testing.T) {
	b := run(t, setup{})
	c := b.dial()
	negative := frame.EndMap(frame.AppendInt(frame.AppendSymbol(frame.BeginMap(nil), "io.strimzi:partition-filter:int"), -1), 0, 1)
	for name, x := range map[string]struct {
		source *frame.Source
		want   frame.Symbol
	}{
		"nothing":        {&frame.Source{}, "io.strimzi:no-group-id"},
		"no group":       {&frame.Source{Address: frame.Some("t")}, "io.strimzi:no-group-id"},
		"no topic":       {&frame.Source{Address: frame.Some("none/group.id/g")}, frame.NotFound},
		"no partition":   {&frame.Source{Address: frame.Some("t/ConsumerGroups/g/Partitions/1")}, "io.strimzi:partition-not-exists"},
		"wrong filter":   {&frame.Source{Address: frame.Some("t/group.id/g"), Filter: negative}, "io.strimzi:wrong-filter"},
		"dynamic":        {&frame.Source{Dynamic: true}, frame.NotImplemented},
		"browser":        {&frame.Source{Address: frame.Some("t/group.id/g"), DistributionMode: frame.DistributeCopy}, frame.NotImplemented},
		"durable, live":  {&frame.Source{Address: frame.Some("live/a"), Durable: frame.DurableState}, frame.NotImplemented},
		"no filter":      {&frame.Source{Address: frame.Some("live/a/#/b")}, frame.InvalidField},
		"shared by MQTT": {&frame.Source{Address: frame.Some("live/$share")}, ""},
	} {
		r, err := c.TryReceiver(frame.Attach{Name: name, Source: x.source})
		if err == nil && x.want == frame.InvalidField { // it is seen when the link is there
			err = r.Ended()
		}
		if err == nil && x.want != "" || err != nil && err.Condition != x.want {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
	if got := c.Sender("t").Send(data("x")); got.Kind != frame.Accepted {
		t.Error(got)
	}
}

// P8: when the listener stops, receivers may settle what they have for a moment.
func TestStopLetsReceiversSettle(t *testing.T) {
	for attempt := 1; !settledAtTheStop(t); attempt++ { // a slow machine may take longer than a moment
		if attempt == 10 {
			t.Fatal("what is settled after the stop does not count")
		}
	}
}

// settledAtTheStop reports whether what a receiver has settled while its listener stops is settled in Kafka.
func settledAtTheStop(t *testing.T) bool {
	b := run(t, setup{})
	b.feed("t", 0, 0, 3)
	c := b.dial()
	r := c.Receiver("t/group.id/g", 2)
	one, two := r.Receive(), r.Receive()
	stopped := make(chan struct{})
	go func() {
		b.stop()
		close(stopped)
	}()
	one.Accept()
	two.Accept()
	<-stopped
	if err := c.Ended(); err == nil {
		t.Error("the connection ended without a word")
	}
	return b.kafka.settled("g", "t") == 2
}

// ENM-A1: a receiver of an MQTT topic or filter sees what comes down while it is there, retained messages first.
func TestLive(t *testing.T) {
	b := run(t, setup{})
	send := func(topic, payload string, retain bool) {
		m := &linkspan.Message{Topic: topic, Payload: []byte(payload), QoS: 2, Retain: retain, Received: time.Now()}
		b.live.Send(t.Context(), m, func(error) {})
	}
	send("live/a/1", "kept", true)
	c := b.dial()
	r := c.Receiver("live/a/+", 2)
	m := r.Receive()
	if got := body(t, m.Payload); got != "kept" {
		t.Errorf("%q, want what was retained", got)
	}
	m.Accept()
	var decoded frame.Message
	if err := decoded.Decode(m.Payload); err != nil {
		t.Fatal(err)
	}
	qos, _ := decoded.MessageAnnotations.Get("x-opt-mqtt-qos").Int()
	retain, _ := decoded.MessageAnnotations.Get("x-opt-retain-message").Bool()
	if decoded.Properties.To.V != "live/a/1" || qos != 2 || !retain || !decoded.Header.Durable {
		t.Errorf("to %q, QoS %d, retain %v, durable %v", decoded.Properties.To.V, qos, retain, decoded.Header.Durable)
	}
	for i := range 5 {
		send(fmt.Sprint("live/a/", i), fmt.Sprint(i), false)
		send("live/b", "for others", false)
	}
	got := receive(t, r, 1, accept)
	r.Grant(4)
	equal(t, "live messages", append(got, receive(t, r, 4, accept)...), numbers(0, 5))
	r.Grant(1)
	b.live.Send(t.Context(), &linkspan.Message{Topic: "live/a/0", Payload: []byte("QoS 0")}, func(error) {})
	if m := r.Receive(); m.RemotelySettled() { // who did not ask for settled messages may insist on settling them
		t.Error("QoS 0 came settled")
	} else {
		m.Accept()
	}
	r.Close()
	if n := b.live.Stats().Sessions.Load(); n != 0 || b.Stats().LiveReceivers.Load() != 0 {
		t.Errorf("%d sessions are left", n)
	}
}
