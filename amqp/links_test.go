package amqp_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// as connects a client with a container's name.
func (b *berth) as(container string) *amqptest.Client {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	return amqptest.New(b.t, nc, engine.Config{ContainerID: container, Credentials: &sasl.Credentials{}})
}

// A link that is attached again moves to the new connection [AMQP 2.6.1], and with it what the old one had not settled.
func TestStolenLinks(t *testing.T) {
	b := run(t, setup{topics: map[string]int{"t": 1, "u": 1}})
	b.feed("t", 0, 0, 3)
	first, second, other := b.as("c"), b.as("c"), b.as("d")
	s := frame.Attach{Name: "s", Target: &frame.Target{Address: frame.Some("u")}}
	r := frame.Attach{Name: "r", Source: &frame.Source{Address: frame.Some("t/group.id/g")}}
	oldSender, refused := first.TrySender(s)
	if refused != nil {
		t.Fatal(refused)
	}
	oldReceiver, refused := first.TryReceiver(r)
	if refused != nil {
		t.Fatal(refused)
	}
	oldReceiver.Grant(3)
	for i := range 3 {
		if m := oldReceiver.Receive(); body(t, m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d: %q", i, m.Payload)
		}
	}
	if _, refused = other.TrySender(s); refused != nil {
		t.Fatal(refused)
	}
	if n := b.Stats().Stolen.Load(); n != 0 {
		t.Fatal("another container has taken the link")
	}
	if _, refused = second.TrySender(s); refused != nil {
		t.Fatal(refused)
	}
	if err := oldSender.Ended(); err == nil || err.Condition != frame.Stolen {
		t.Errorf("the old sender ended with %v", err)
	}
	again, refused := second.TryReceiver(r)
	if refused != nil {
		t.Fatal(refused)
	}
	if err := oldReceiver.Ended(); err == nil || err.Condition != frame.Stolen {
		t.Errorf("the old receiver ended with %v", err)
	}
	again.Grant(3)
	equal(t, "again", receive(t, again, 3, accept), numbers(0, 3))
	if n := b.Stats().Stolen.Load(); n != 2 {
		t.Errorf("%d stolen", n)
	}
	first.Close()
	until(t, "what is left", func() bool { return b.Stats().Senders.Load() == 2 && b.Stats().Receivers.Load() == 1 })
}
