package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// CON-A5, P1: a broker gets its acknowledgement when Kafka has the message, or the disk, and not before. What was not acknowledged is with the broker, after a
// kill and without the spool, too; what was acknowledged is on the disk, without the broker, too (CON-A4).
func TestPuback_CON_A5(t *testing.T) {
	t.Parallel()
	t.Run("not without Kafka", func(t *testing.T) {
		s := newStore(t, "kafka")
		s.via.Refuse()
		s.publish(t)
		s.unacked(t)
		s.brokerHasAll(t)
	})
	t.Run("not before the disk", func(t *testing.T) {
		s := newStore(t, "kafka-else-spool")
		fault, err := harness.Inject(deadline(t), s.linkspan.PID(), "fdatasync,fsync:error=EIO", filepath.Join(t.TempDir(), "strace.log"))
		must(t, err)
		t.Cleanup(fault.Close)
		s.via.Refuse()
		s.publish(t)
		must(t, fault.Done(deadline(t), 1))
		s.unacked(t)
		s.brokerHasAll(t)
	})
	t.Run("with the disk", func(t *testing.T) {
		s := newStore(t, "kafka-else-spool")
		s.via.Refuse()
		s.publish(t)
		must(t, harness.Until(deadline(t), func() error {
			if got := s.acked(t); got != puts {
				return fmt.Errorf("%v of %d are acknowledged", got, puts)
			}
			return nil
		}))
		s.linkspan.Kill()
		s.site.Kill()
		must(t, s.via.Heal())
		must(t, s.linkspan.Launch())
		settled(t, &s.ledger, true)
	})
}

// puts is how many messages a store gets: fewer than Mosquitto has under way without an acknowledgement.
const puts = 10

// A store is a Linkspan with a spool, between a broker and Kafka.
type store struct {
	site     *harness.Site
	via      harness.Network // to Kafka
	linkspan *harness.Linkspan
	spool    string // folder
	ledger   harness.Ledger
}

func newStore(t *testing.T, ack string) *store {
	t.Helper()
	s := &store{site: ownSite(t, "mosquitto", ""), via: network(t), spool: filepath.Join(t.TempDir(), "spool")}
	up := topic(t, world.kafka, "puback", 1)
	c := newCrossing(t, world.kafka, loadRoutes(up, "ack: "+ack), dialTo("plant", s.site.URL("mqtt")))
	c.kafka, c.alone, c.more = s.via.Addrs(), true, fmt.Sprintf("spool: {dir: %q}\n", s.spool)
	s.linkspan = c.member(t)
	connected(t, s.linkspan, "plant")
	land(t, world.kafka, &s.ledger, up)
	return s
}

// publish has a device publish, and the broker acknowledge.
func (s *store) publish(t *testing.T) {
	t.Helper()
	publishers(t, &s.ledger, 1, puts, puts, 0, s.site.Addr, "device")()
}

func (s *store) acked(t *testing.T) float64 {
	t.Helper()
	return gauge(t, s.linkspan, "linkspan_client_acked_messages_total", "plant")
}

// unacked waits until Linkspan has the messages, and checks that none is acknowledged.
func (s *store) unacked(t *testing.T) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		if gauge(t, s.linkspan, "linkspan_client_in_flight_messages", "plant") != puts {
			return errors.New("Linkspan has not got all")
		}
		return nil
	}))
	if got := s.acked(t); got > 0 {
		t.Errorf("%v are acknowledged", got)
	}
}

// brokerHasAll kills Linkspan, takes its spool away, and waits until all is in Kafka, from the broker.
func (s *store) brokerHasAll(t *testing.T) {
	t.Helper()
	s.linkspan.Kill()
	must(t, os.RemoveAll(s.spool))
	must(t, s.via.Heal())
	must(t, s.linkspan.Start(deadline(t)))
	settled(t, &s.ledger, false)
}
