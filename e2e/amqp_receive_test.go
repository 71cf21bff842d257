package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// group is the address of a receiver of a group that has this topic alone.
func group(topic, name string) string { return topic + "/group.id/" + topic + "-" + name }

// AKB-A5: the body, and where it comes from in the words of both families; a delivery tag that says so, too.
func TestAMQP_Receive_AKB_A5(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	from := topic(t, world.kafka, "receive", 2)
	dotted := from + ".b"
	must(t, harness.CreateTopic(deadline(t), world.kafka.Addrs(), dotted, 1, nil))
	produce(t, from, 1, 3)
	produce(t, dotted, 0, 1)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		p := q.meet(t, m)
		r := receiver(t, p, from+"/group.id/"+m.Name, 10)
		for i := range 3 {
			d := came(t, r)
			for name, want := range map[string]string{
				"x-opt-bridge.topic": fmt.Sprintf("string %q", from), "x-opt-bridge.partition": "int 1", "x-opt-bridge.offset": fmt.Sprint("long ", i),
				"x-opt-bridge.key": fmt.Sprintf("string %q", fmt.Sprint("key ", i)), "x-opt-sequence-number": fmt.Sprint("long ", i),
				"x-opt-offset": fmt.Sprintf("string %q", fmt.Sprint(i)), "x-opt-partition-key": fmt.Sprintf("string %q", fmt.Sprint("key ", i)),
			} {
				if got := annotation(t, d.Payload, name); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
			}
			if at := annotation(t, d.Payload, "x-opt-enqueued-time"); !strings.HasPrefix(at, "timestamp ") {
				t.Errorf("x-opt-enqueued-time is %s", at)
			}
			if got := text(t, d.Payload); got != fmt.Sprint(i) {
				t.Errorf("message %d is %q", i, got)
			}
			if want := fmt.Sprint("1_", i); string(d.Tag) != want {
				t.Errorf("tag %q, want %s", d.Tag, want)
			}
			settle(t, r, d, harness.Accepted)
		}
		for _, address := range []string{from + "/b/group.id/" + m.Name, dotted + "/ConsumerGroups/" + m.Name + "-2", "/" + dotted + "/group.id/" + m.Name + "/3"} {
			if got := text(t, came(t, receiver(t, p, address, 1)).Payload); got != "0" {
				t.Errorf("%s: got %q", address, got)
			}
		}
	})
}

// AKB-A5, AKB-W10: receivers of one group share the partitions, whoever made them, and one Kafka consumer; each group gets all.
func TestAMQP_Groups_AKB_A5(t *testing.T) {
	t.Parallel()
	q, from := sharedQuay(t), topic(t, world.kafka, "groups", 4)
	var all []harness.Link // four of the one group, one of the other
	for i, m := range []string{"proton", "rhea", "go-amqp", "vertx", "rhea"} {
		all = append(all, attach(t, q.meet(t, peerMade(m)), harness.LinkOptions{Address: group(from, []string{"shared", "other"}[i/4]), Receiver: true}))
	}
	for partition := range int32(4) {
		produce(t, from, partition, 10)
	}
	var owners [4]string
	for _, r := range all[:4] {
		flow(t, r, 20)
		partition := ""
		for i := range 10 {
			d := came(t, r)
			got := annotation(t, d.Payload, "x-opt-bridge.partition")
			if partition == "" {
				partition = got
			}
			if got != partition || text(t, d.Payload) != fmt.Sprint(i) {
				t.Fatalf("got message %s of partition %s after %d of %s", text(t, d.Payload), got, i, partition)
			}
			settle(t, r, d, harness.Accepted)
		}
		owners[slices.Index(all, r)] = partition
	}
	slices.Sort(owners[:])
	if n := len(slices.Compact(owners[:])); n != 4 {
		t.Errorf("the four have partitions %v", owners)
	}
	groups, err := kadm.NewClient(producer(t, world.kafka)).DescribeGroups(deadline(t), from+"-shared")
	must(t, errors.Join(err, groups.Error()))
	if members := groups[from+"-shared"].Members; len(members) != 1 {
		t.Errorf("the group has %d members in Kafka", len(members))
	}
	flow(t, all[4], 100)
	seen := map[string]int{}
	for range 40 {
		d := came(t, all[4])
		partition := annotation(t, d.Payload, "x-opt-bridge.partition")
		if want := fmt.Sprint(seen[partition]); text(t, d.Payload) != want {
			t.Errorf("%s: got %s, want %s", partition, text(t, d.Payload), want)
		}
		seen[partition]++
	}
}

// AKB-A6, AKB-W8: filters by partition, and by partition and offset, in every spelling, and what clients of event hubs write.
func TestAMQP_Filters_AKB_A6(t *testing.T) {
	t.Parallel()
	q, from := sharedQuay(t), topic(t, world.kafka, "filters", 3)
	for partition := range int32(3) {
		produce(t, from, partition, 10)
	}
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		p := q.meet(t, m)
		n := 0
		first := func(partition, number int, address string, filters ...harness.Filter) {
			t.Helper()
			n++
			r := receiver(t, p, address+fmt.Sprint(m.Name, "-", n), 1, filters...)
			d := came(t, r)
			if got := annotation(t, d.Payload, "x-opt-bridge.partition"); got != fmt.Sprint("int ", partition) || text(t, d.Payload) != fmt.Sprint(number) {
				t.Errorf("%v: got %s of partition %s", filters, text(t, d.Payload), got)
			}
			must(t, r.Detach(deadline(t)))
		}
		for _, prefix := range []string{"io.strimzi:", "enmasse:"} {
			for _, types := range [][2]string{{"int", "long"}, {"uint", "ulong"}} {
				at := harness.Filter{Name: prefix + "partition-filter:" + types[0], Type: types[0], Value: "2"}
				after := harness.Filter{Name: prefix + "offset-filter:" + types[1], Type: types[1], Value: "7"}
				first(2, 0, group(from, ""), at)
				first(2, 7, group(from, ""), at, after)
			}
		}
		for selector, number := range map[string]int{
			"amqp.annotation.x-opt-offset > '3'": 4, "amqp.annotation.x-opt-offset >= '3'": 3, "amqp.annotation.x-opt-sequence-number > '8'": 9,
			"amqp.annotation.x-opt-offset > '-1'": 0, "amqp.annotation.x-opt-enqueued-time > '0'": 0,
		} {
			n++
			r := receiver(t, p, fmt.Sprintf("%s/ConsumerGroups/%s-%d/Partitions/1", from, m.Name, n), 1,
				harness.Filter{Name: "apache.org:selector-filter:string", Type: "string", Value: selector})
			if d := came(t, r); text(t, d.Payload) != fmt.Sprint(number) || annotation(t, d.Payload, "x-opt-bridge.partition") != "int 1" {
				t.Errorf("%s: got %s of partition %s", selector, text(t, d.Payload), annotation(t, d.Payload, "x-opt-bridge.partition"))
			}
		}
	})
}

// AKB-A7: what is wrong with an address or a filter detaches the link with the condition, and the connection stays open.
func TestAMQP_Refused_AKB_A7(t *testing.T) {
	t.Parallel()
	q, from := sharedQuay(t), topic(t, world.kafka, "refused", 2)
	type filters = []harness.Filter
	at := func(kind, v string) harness.Filter {
		return harness.Filter{Name: "io.strimzi:partition-filter:int", Type: kind, Value: v}
	}
	after := func(kind, v string) harness.Filter {
		return harness.Filter{Name: "io.strimzi:offset-filter:long", Type: kind, Value: v}
	}
	tests := []struct {
		address, condition string
		filters            filters
	}{
		{from, "io.strimzi:no-group-id", nil},
		{from + "/group.id/", "io.strimzi:no-group-id", nil},
		{"/group.id/g", "io.strimzi:no-group-id", nil},
		{group(from, "g"), "io.strimzi:partition-not-exists", filters{at("int", "7")}},
		{group(from, "g"), "io.strimzi:wrong-filter", filters{at("int", "-1")}},
		{group(from, "g"), "io.strimzi:wrong-partition-filter", filters{at("string", "one")}},
		{group(from, "g"), "io.strimzi:wrong-offset-filter", filters{at("int", "1"), after("string", "one")}},
		{group(from, "g"), "io.strimzi:wrong-filter", filters{at("int", "1"), after("long", "-1")}},
		{group(from, "g"), "io.strimzi:no-partition-filter", filters{after("long", "1")}},
		{group(from, "g"), "amqp:not-implemented", filters{{Name: "apache.org:selector-filter:string", Type: "string", Value: "color = 'red'"}}},
		{from + "/ConsumerGroups/g/Partitions/9", "io.strimzi:partition-not-exists", nil},
		{"no-such-topic-here/group.id/g", "amqp:not-found", nil},
	}
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		p := q.meet(t, m)
		for _, test := range tests {
			_, err := p.Attach(deadline(t), harness.LinkOptions{Address: test.address, Receiver: true, Filters: test.filters})
			why, refused := err.(*harness.Refusal)
			if !refused || why.Condition != test.condition || why.Description == "" {
				t.Errorf("%s %v: %v, want %s", test.address, test.filters, err, test.condition)
			}
		}
		send(t, sender(t, p, from), harness.Data([]byte("the connection is open")))
	})
}

// AKB-A8, AKB-W2, AKB-W4, P4: settled out of order, and the receiver's connection breaks: all that it had not settled comes again, in order, and
// nothing of the settled beginning.
func TestAMQP_Unsettled_AKB_A8(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		from := topic(t, world.kafka, "unsettled", 1)
		produce(t, from, 0, 20)
		p := q.meet(t, m)
		r := receiver(t, p, group(from, "g"), 20)
		var all []*harness.Delivery
		for range 20 {
			all = append(all, came(t, r))
		}
		for _, i := range []int{7, 1, 0, 5, 2, 19} {
			settle(t, r, all[i], harness.Accepted)
		}
		settle(t, r, all[3], harness.Released) // which comes again: by then what was settled before has been seen
		if d := came(t, func() harness.Link { flow(t, r, 1); return r }()); text(t, d.Payload) != "3" {
			t.Fatalf("released 3, got %s", text(t, d.Payload))
		}
		p.Drop()
		r = receiver(t, q.meet(t, m), group(from, "g"), 100)
		want := 3
		for want < 19 {
			d := came(t, r)
			switch got := text(t, d.Payload); {
			case got == fmt.Sprint(want):
				want++
			case want == 5 && got == "6", want == 7 && got == "8": // 5 and 7 need not come again
				want += 2
			default:
				t.Fatalf("got %s, want %d", got, want)
			}
		}
	})
}

// P4: messages to a receiver that asks for settled ones count as done when they are written: at most once. What it had no credit for is not done.
func TestAMQP_SettledReceiver(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		from := topic(t, world.kafka, "at-most-once", 1)
		produce(t, from, 0, 10)
		p := q.meet(t, m)
		r := attach(t, p, harness.LinkOptions{Address: group(from, "g"), Receiver: true, Settled: true})
		flow(t, r, 5)
		for i := range 5 {
			d := came(t, r)
			if text(t, d.Payload) != fmt.Sprint(i) || !d.Settled && m.Name != "go-amqp" { // which does not tell
				t.Errorf("message %s came in place of %d, settled: %t", text(t, d.Payload), i, d.Settled)
			}
		}
		must(t, p.Close(deadline(t)))
		if d := came(t, receiver(t, q.meet(t, m), group(from, "g"), 1)); text(t, d.Payload) != "5" {
			t.Errorf("after five of them %s came", text(t, d.Payload))
		}
	})
}

// AKB-A9, AKB-W3: released means again; modified means again, and counts; rejected goes to the dead letters with the reason; undeliverable
// here with nobody else there as well.
func TestAMQP_Outcomes_AKB_A9(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	dead := open(t, world.kafka, q.dead)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		from := topic(t, world.kafka, "outcomes", 1)
		produce(t, from, 0, 5)
		p := q.meet(t, m)
		r := receiver(t, p, group(from, "g"), 1)
		again := func(number, count string, o harness.Outcome) {
			t.Helper()
			d := came(t, r)
			if got := deliveryCount(t, d.Payload); text(t, d.Payload) != number || got != "uint "+count {
				t.Fatalf("got %s, tried %s times, want %s, %s", text(t, d.Payload), got, number, count)
			}
			must(t, r.Settle(deadline(t), d, o))
			flow(t, r, 1)
		}
		again("0", "0", harness.Outcome{State: harness.Released})
		again("0", "0", harness.Outcome{State: harness.Modified, Failed: true})
		again("0", "1", harness.Outcome{State: harness.Modified, Failed: true})
		again("0", "2", harness.Outcome{State: harness.Modified})
		again("0", "2", harness.Outcome{State: harness.Accepted})
		again("1", "0", harness.Outcome{State: harness.Rejected, Condition: "my:reason", Description: "the price is wrong, says " + m.Name})
		again("2", "0", harness.Outcome{State: harness.Modified, Undeliverable: true})
		again("3", "0", harness.Outcome{State: harness.Accepted})
		for _, number := range []string{"1", "2"} {
			letter := dead.wait(t, func(r *kgo.Record) bool { return string(r.Value) == number && header(r, "linkspan.topic") == from })
			why := header(letter, "linkspan.reason")
			if number == "1" && (!strings.Contains(why, "my:reason: the price is wrong, says "+m.Name) || header(letter, "linkspan.address") != group(from, "g")) {
				t.Errorf("dead letter %s: %s, %v", number, why, letter.Headers)
			}
		}
		must(t, p.Close(deadline(t)))
		if d := came(t, receiver(t, q.meet(t, m), group(from, "g"), 1)); text(t, d.Payload) != "4" {
			t.Errorf("after the others got %s", text(t, d.Payload))
		}
	})
}

// AKB-A10: nothing comes without credit, as much as there is credit for, and what drain takes back does not come.
func TestAMQP_Drain_AKB_A10(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		from := topic(t, world.kafka, "drain", 1)
		p := q.meet(t, m)
		r := attach(t, p, harness.LinkOptions{Address: group(from, "g"), Receiver: true})
		flow(t, r, 10)
		must(t, r.Flow(deadline(t), 0, true)) // nothing is there: the credit goes
		produce(t, from, 0, 5)
		other := receiver(t, p, group(from, "other"), 5) // when it has all, the first could have it, too
		for range 5 {
			settle(t, other, came(t, other), harness.Accepted)
		}
		ended := ended(t)
		if d, err := r.Next(ended); err == nil {
			t.Fatalf("%s came without credit", text(t, d.Payload))
		}
		for i := range 3 {
			flow(t, r, 1)
			d := came(t, r)
			if text(t, d.Payload) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", text(t, d.Payload), i)
			}
			settle(t, r, d, harness.Accepted)
		}
		flow(t, r, 10)
		for i := range 2 {
			if d := came(t, r); text(t, d.Payload) != fmt.Sprint(3+i) {
				t.Fatalf("got %s, want %d", text(t, d.Payload), 3+i)
			}
		}
		must(t, r.Flow(deadline(t), 0, true))
	})
}

// AKB-A12: a receiver too many waits, or is told so, as the endpoint says.
func TestAMQP_Surplus_AKB_A12(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		from := topic(t, world.kafka, "surplus", 1)
		p := q.meet(t, m)
		r := receiver(t, p, group(from, "g"), 1)
		waits := receiver(t, q.meet(t, m), group(from, "g"), 10)
		produce(t, from, 0, 2)
		settle(t, r, came(t, r), harness.Accepted)
		must(t, r.Detach(deadline(t)))
		if d := came(t, waits); text(t, d.Payload) != "1" {
			t.Errorf("got %s", text(t, d.Payload))
		}
		small := meet(t, m, harness.PeerOptions{URL: q.url(bySmall)})
		one, err := small.Attach(deadline(t), harness.LinkOptions{Address: group(from, "h"), Receiver: true})
		must(t, err)
		flow(t, one, 1)
		came(t, one)
		two, err := small.Attach(deadline(t), harness.LinkOptions{Address: group(from, "h"), Receiver: true})
		var why *harness.Refusal
		if err == nil {
			why, err = two.Detached(deadline(t))
		} else {
			why, _ = err.(*harness.Refusal)
		}
		if why == nil || why.Condition != "io.strimzi:no-free-partitions" {
			t.Errorf("a receiver too many: %v, %v", why, err)
		}
	})
}

// AKB-A15: sending and receiving at once, on one session.
func TestAMQP_BothWays_AKB_A15(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		const n = 100
		at := topic(t, world.kafka, "both", 1)
		p := q.meet(t, m)
		s, r := sender(t, p, at), receiver(t, p, group(at, "g"), n)
		together(t, func() error {
			for i := range n {
				receipt, err := s.Send(deadline(t), harness.Data(fmt.Append(nil, i)))
				if err != nil {
					return err
				}
				if o, err := receipt.Outcome(deadline(t)); err != nil || o.State != harness.Accepted {
					return fmt.Errorf("message %d: %+v, %w", i, o, err)
				}
			}
			return nil
		}, func() error {
			for i := range n {
				d, err := r.Next(deadline(t))
				if err != nil {
					return err
				}
				if body, err := harness.Body(d.Payload); err != nil || string(body) != fmt.Sprint(i) {
					return fmt.Errorf("message %d is %q, %w", i, body, err)
				}
				if err := r.Settle(deadline(t), d, harness.Outcome{State: harness.Accepted}); err != nil {
					return err
				}
			}
			return nil
		})
		must(t, p.Close(deadline(t)))
	})
}
