package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// [AMQP 2.6.12] Links whose receiver settles after the sender: what is sent over one is in Kafka once, and each message that came over one and
// was accepted is behind the group. Vert.x does not offer the mode.
func TestAMQP_ReceiverSettlesSecond(t *testing.T) {
	t.Parallel()
	const n = 50
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		if m.Name == "vertx" {
			t.Skip("it has no such mode")
		}
		in := topic(t, world.kafka, "second", 1)
		records := open(t, world.kafka, in)
		p := q.meet(t, m)
		s := attach(t, p, harness.LinkOptions{Address: in, Second: true})
		var want []string
		receipts := make([]*harness.Receipt, n)
		for i := range receipts {
			want = append(want, fmt.Sprint(i))
			r, err := s.Send(deadline(t), harness.Data([]byte(want[i])))
			must(t, err)
			receipts[i] = r
		}
		for i, r := range receipts {
			if o, err := r.Outcome(deadline(t)); err != nil || o.State != harness.Accepted {
				t.Fatalf("message %d: %+v, %v", i, o, err)
			}
		}
		records.wait(t, withValue(want[n-1]))
		var got []string
		for _, r := range records.all(func(*kgo.Record) bool { return true }) {
			got = append(got, string(r.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("in Kafka: %q", got)
		}
		r := attach(t, p, harness.LinkOptions{Address: group(in, "second"), Receiver: true, Second: true})
		flow(t, r, n)
		for i := range n {
			d := came(t, r)
			if got := text(t, d.Payload); got != want[i] {
				t.Fatalf("message %d is %q", i, got)
			}
			settle(t, r, d, harness.Accepted)
		}
		must(t, r.Detach(deadline(t)))
		send(t, s, harness.Data([]byte("later")))
		if got := text(t, came(t, receiver(t, p, group(in, "second"), n)).Payload); got != "later" {
			t.Errorf("message %q was accepted and comes again", got)
		}
	})
}
