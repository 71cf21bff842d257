package spool

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// A meddler has something happen whenever somebody asks whether there is any room: the last that a lane asks before it returns to
// the direct way, when its walk has seen all there is.
type meddler struct {
	*cluster
	asked func()
}

func (m *meddler) Room(of *linkspan.Message) bool {
	if of == nil {
		m.asked()
	}
	return m.cluster.Room(of)
}

// P3: a message that comes when the walk has just seen the last one keeps its lane from the direct way: what is sent next would overtake
// it, the more so as the disk takes its time.
func TestReturnIsNotOneTooEarly(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.disk.Slow("append.sync", 300*time.Millisecond)
		var mu sync.Mutex
		var sent []string
		send := func() {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, fmt.Sprint(len(sent)))
			x.send("a", "k", sent[len(sent)-1])
		}
		var left atomic.Int32
		x.to = &meddler{x.cluster, func() {
			if left.Add(-1) >= 0 {
				send()
			}
		}}
		x.start()
		x.spool.Hold(true)
		send()
		pass(time.Second)
		x.cluster.away(false)
		left.Store(10)
		x.spool.Hold(false)
		for range 100 {
			pass(10 * time.Millisecond)
			send()
		}
		pass(5 * time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		x.wantWay("a", Direct)
	})
}

// P3: a lane of which something came back, and waits to be handed over again, does not return to the direct way, though its walk has seen
// all there is and Kafka takes other messages.
func TestReturnWaitsForWhatCameBack(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		x.spool.Hold(true)
		x.send("a", "other", "1")
		x.send("a", "k", "2")
		pass(time.Second)
		x.cluster.judge = func(r *fakeRecord) error {
			if string(r.m.Payload) == "2" {
				return errors.New("not now")
			}
			return nil
		}
		x.cluster.away(false)
		x.spool.Hold(false)
		for range 3 {
			synctest.Wait()
			same(t, "delivered", x.cluster.payloads(), []string{"1"})
			x.wantWay("a", Draining)
			pass(tick)
		}
		x.cluster.mu.Lock()
		x.cluster.judge = nil
		x.cluster.mu.Unlock()
		x.send("a", "k", "3")
		pass(5 * time.Second)
		same(t, "delivered", x.cluster.payloads(), []string{"1", "2", "3"})
		x.wantWay("a", Direct)
	})
}
