package spool

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// What was acknowledged from memory, and neither Kafka nor the dead letter topic takes, is told: never green while something is lost.
func TestLostIsTold(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckMemory})
		x.start()
		x.bury = func(string) error { return errors.New("no room") }
		x.cluster.judge = func(*fakeRecord) error { return linkspan.Permanent(errors.New("refused")) }
		x.send("a", "k", "p")
		x.cluster.away(false)
		pass(2 * time.Second)
		st := x.spool.Status()
		if st.Lanes[0].Counters.Lost != 1 || st.Verdict != NotReady {
			t.Errorf("%+v", st)
		}
	})
}

// P6: messages that wait for Kafka behind a backlog, since the route had another ack point before, are bounded in memory, not by the disk.
func TestAckKafkaBehindABacklog(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckKafkaElseSpool})
		x.cfg.MaxBytes = 1 << 30
		x.start()
		x.spool.Hold(true)
		x.send("a", "k", "first")
		pass(time.Second)
		_ = x.stop()
		x.lanes, x.longest = []Lane{{Name: "a", Ack: AckKafka}}, 500
		x.start()
		n := 0
		for i := range 20000 {
			if !x.spool.Room(&linkspan.Message{Route: "a"}) {
				break
			}
			x.send("a", "k", fmt.Sprint("next ", i))
			n++
			if i%100 == 0 {
				pass(10 * time.Millisecond)
			}
		}
		pass(time.Second)
		if n < 500 || n > 1000 || x.lane("a").Way != Holding || x.spool.Room(nil) {
			t.Fatalf("%d sent, %v", n, x.lane("a").Way)
		}
		x.cluster.away(false)
		pass(5 * time.Second)
		if x.lane("a").Way != Direct || len(x.acked()) != n+1 || len(x.cluster.has()) != n+1 || !x.spool.Room(&linkspan.Message{Route: "a"}) {
			t.Errorf("%d acked, %+v", len(x.acked()), x.lane("a"))
		}
	})
}
