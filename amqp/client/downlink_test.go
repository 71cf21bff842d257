package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/custody"
)

// What is sent is done when the broker has accepted it, whatever the credit (P1, P3).
func TestSends(t *testing.T) {
	b := broker(t)
	b.Credit(3)
	r := start(t, b.URL(), nil)
	var outcomes []<-chan error
	for i := range 500 {
		outcomes = append(outcomes, r.send("q", custody.Payload(i)))
	}
	for _, o := range outcomes {
		if err := wait(t, o); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "stored", bodies(t, b.Stored("q")), payloads(500))
	s := r.Stats()
	if s.Delivered.Load() != 500 || s.Queued.Load() != 0 || s.OldestUnacked(time.Now()) != 0 {
		t.Errorf("%d delivered, %d queued", s.Delivered.Load(), s.Queued.Load())
	}
}

// A rejection is for good, with the broker's condition; one for want of room is not, and one that may be the broker's own trouble is at the
// fourth attempt (P2).
func TestRejected(t *testing.T) {
	b := broker(t)
	b.Set(amqptest.Reject)
	r := start(t, b.URL(), nil)
	err := wait(t, r.send("q", "a"))
	var condition *frame.Error
	if !linkspan.IsPermanent(err) || !errors.As(err, &condition) || condition.Condition != frame.NotAllowed ||
		err.Error() != "the broker refuses the message: amqp:not-allowed: no" {
		t.Error(err)
	}
	b.Rejection(frame.Error{Condition: frame.ResourceLimitExceeded, Description: "full"})
	if err := wait(t, r.send("q", "b")); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	b.Rejection(frame.Error{Condition: "failed", Description: "AMQ229257: IDGenerator has been stopped"})
	for tries := range 4 {
		if err := wait(t, r.try(tries, "q", "c")); err == nil || linkspan.IsPermanent(err) != (tries == 3) {
			t.Errorf("after %d attempts: %v", tries, err)
		}
	}
	b.Set(amqptest.Release)
	if err := wait(t, r.try(1, "q", "d")); err == nil || linkspan.IsPermanent(err) || err.Error() != "the broker gives the message back (released)" {
		t.Error(err)
	}
}

// What is behind a message that was given back is given back, too, though the broker may have taken it: so all of them can be sent
// again in their order (P3).
func TestGivenBackWithAllBehind(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), nil)
	b.Set(amqptest.Hold)
	first := r.send("q", "first")
	r.until("it to be there", func() bool { return len(b.Stored("q")) == 1 })
	b.Set(amqptest.Release)
	second := r.send("q", "second")
	if err := wait(t, second); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	third := r.send("q", "third") // first is on its way
	if err := wait(t, third); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	if err := wait(t, r.send("elsewhere", "x")); err == nil || !strings.Contains(err.Error(), "released") {
		t.Errorf("another address: %v", err)
	}
	b.Set(amqptest.Accept)
	if err := wait(t, first); err == nil {
		t.Error("the one behind was accepted past the other")
	}
	if err := wait(t, r.send("q", "fourth")); err == nil {
		t.Error("one that was under way went past those that were given back")
	}
	for _, body := range []string{"first", "second", "third", "fourth"} {
		if err := wait(t, r.try(1, "q", body)); err != nil {
			t.Error(err)
		}
	}
	equal(t, "stored", bodies(t, b.Stored("q")), []string{"first", "first", "second", "third", "fourth"})
}

// The same holds where the broker ends the link alone (P3).
func TestGivenBackWithTheLink(t *testing.T) {
	b := broker(t)
	b.Set(amqptest.Hold)
	r := start(t, b.URL(), nil)
	lost := r.send("q", "first")
	r.until("it to be there", func() bool { return len(b.Stored("q")) == 1 })
	b.Set(amqptest.Release) // says nothing of what is held
	b.DetachAll("q", &frame.Error{Condition: frame.DetachForced})
	if err := wait(t, lost); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	if err := wait(t, r.send("q", "second")); err == nil {
		t.Error("one that was under way went past the one that was given back")
	}
	b.Set(amqptest.Accept)
	for _, body := range []string{"first", "second"} {
		if err := wait(t, r.try(1, "q", body)); err != nil {
			t.Error(err)
		}
	}
	equal(t, "stored", bodies(t, b.Stored("q")), []string{"first", "first", "second"})
}

// Without a connection there is no room, and what is sent all the same is given back: it stays in Kafka.
func TestNoConnection(t *testing.T) {
	b := broker(t)
	b.Stop()
	r := launch(t, b.URL(), nil)
	if r.Room(nil) {
		t.Error("room without a connection")
	}
	if err := wait(t, r.send("q", "a")); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	b.Start()
	r.until("room", func() bool { return r.Room(nil) })
	b.Set(amqptest.Hold)
	lost := r.send("q", "b")
	r.until("it to be there", func() bool { return len(b.Stored("q")) == 1 })
	b.Kill()
	if err := wait(t, lost); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	r.stop()
	if err := wait(t, r.send("q", "c")); !errors.Is(err, linkspan.ErrClosed) {
		t.Error(err)
	}
}

// An address that the broker does not let us send to is its answer to the messages for it; later ones ask again.
func TestRefusedTarget(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), nil)
	b.Refuse("gone", &frame.Error{Condition: frame.NotFound, Description: "no such node"})
	b.Refuse("busy", &frame.Error{Condition: frame.ResourceLimitExceeded})
	if err := wait(t, r.send("gone", "x")); !linkspan.IsPermanent(err) || !strings.Contains(err.Error(), "amqp:not-found: no such node") {
		t.Error(err)
	}
	if err := wait(t, r.send("busy", "x")); err == nil || linkspan.IsPermanent(err) {
		t.Error(err)
	}
	b.Refuse("gone", nil)
	r.until("it to be there", func() bool { return wait(t, r.send("gone", "y")) == nil })
	if err := wait(t, r.send("", "x")); !errors.Is(err, linkspan.ErrInvalidTopic) {
		t.Error(err)
	}
}

// What a broker says when it ends everything is no answer to the messages for an address: they are given back (P2).
func TestEndOfConnectionIsNoRefusal(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), nil)
	b.Set(amqptest.Hold)
	b.Credit(1)
	on, waiting := r.send("q", "on its way"), r.send("q", "waiting for credit")
	r.until("one to be there", func() bool { return len(b.Stored("q")) == 1 })
	b.CloseAll(&frame.Error{Condition: frame.DecodeError, Description: "could not process"})
	for _, o := range []<-chan error{on, waiting} {
		if err := wait(t, o); err == nil || linkspan.IsPermanent(err) {
			t.Error(err)
		}
	}
}

// A message that is larger than the broker takes is refused for good, whether its attach said so or it ends the link.
func TestTooLarge(t *testing.T) {
	b := amqptest.NewBroker(t, engine.Config{MaxMessageSize: 1000})
	r := start(t, b.URL(), nil)
	if err := wait(t, r.send("q", strings.Repeat("x", 2000))); !errors.Is(err, linkspan.ErrTooLarge) {
		t.Error(err)
	}
	if err := wait(t, r.send("q", strings.Repeat("x", 900))); err != nil {
		t.Error(err)
	}
}

// No more links than MaxLinks are attached; those that are idle make room, and go after a while.
func TestLinksAreBounded(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), nil, func(c *client.Config) { c.MaxLinks, c.LinkIdle = 3, 50*time.Millisecond })
	var outcomes []<-chan error
	for i := range 60 {
		outcomes = append(outcomes, r.send(fmt.Sprint("q", i%20), fmt.Sprint(i)))
		if n := r.Stats().Senders.Load(); n > 3 {
			t.Fatalf("%d links", n)
		}
	}
	for _, o := range outcomes {
		if err := wait(t, o); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		equal(t, "stored", bodies(t, b.Stored(fmt.Sprint("q", i))), []string{fmt.Sprint(i), fmt.Sprint(i + 20), fmt.Sprint(i + 40)})
	}
	r.until("all links to be detached", func() bool { return r.Stats().Senders.Load() == 0 })
}

// An address that takes nothing gives its messages back after a while, so that those for others have room.
func TestStuckAddress(t *testing.T) {
	b := broker(t)
	b.Credit(0)
	r := start(t, b.URL(), nil, func(c *client.Config) { c.AckTimeout, c.MaxInFlight = 50*time.Millisecond, 2 })
	first, second := r.send("stuck", "a"), r.send("stuck", "b")
	for _, o := range []<-chan error{first, second} {
		if err := wait(t, o); err == nil || linkspan.IsPermanent(err) {
			t.Error(err)
		}
	}
	b.Credit(1)
	r.until("another to go", func() bool { return wait(t, r.try(1, "other", "c")) == nil }) // a slow machine is stuck, too
}

// There is no room beyond MaxInFlight (P6).
func TestNoRoomBeyondMaxInFlight(t *testing.T) {
	b := broker(t)
	b.Credit(0)
	r := start(t, b.URL(), nil, func(c *client.Config) { c.MaxInFlight = 2 })
	first := r.send("q", "a")
	if !r.Room(nil) {
		t.Error("no room for a second one")
	}
	second := r.send("q", "b")
	if r.Room(nil) {
		t.Error("room beyond max_in_flight")
	}
	r.until("the link to be there", func() bool { return r.Stats().Senders.Load() == 1 })
	b.Grant("q", 2)
	for _, o := range []<-chan error{first, second} {
		if err := wait(t, o); err != nil {
			t.Error(err)
		}
	}
	if !r.Room(nil) {
		t.Error("no room though nothing is in flight")
	}
}

// A broker that does not settle is given up, and what it has not settled is given back.
func TestAckTimeout(t *testing.T) {
	b := broker(t)
	b.Set(amqptest.Hold)
	r := start(t, b.URL(), nil, func(c *client.Config) { c.AckTimeout = 50 * time.Millisecond })
	r.until("the loss to be counted", func() bool { // a slow machine may have it given back before there is a link
		if err := wait(t, r.try(1, "q", "a")); err == nil || linkspan.IsPermanent(err) {
			t.Fatal(err)
		}
		return r.Stats().Losses[client.CauseTimeout].Load() > 0
	})
}

// What has expired before it could be sent is left out.
func TestExpired(t *testing.T) {
	b := broker(t)
	b.Credit(0)
	r := start(t, b.URL(), nil)
	outcome := make(chan error, 1)
	m := &linkspan.Message{Topic: "q", Payload: []byte("late"), Expires: time.Now().Add(time.Millisecond)}
	r.Send(context.Background(), m, func(err error) { outcome <- err })
	r.until("the link to be there", func() bool { return r.Stats().Senders.Load() == 1 })
	r.until("it to expire", func() bool { return m.Expired(time.Now()) })
	b.Grant("q", 1)
	if err := wait(t, outcome); err != nil || r.Stats().Expired.Load() != 1 || len(b.Stored("q")) != 0 {
		t.Errorf("%v, %d expired, %d stored", err, r.Stats().Expired.Load(), len(b.Stored("q")))
	}
}
