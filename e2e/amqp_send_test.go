package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// to returns a message for an address of its own.
func to(address, body string) []byte {
	return harness.Encode(
		harness.Section{Code: harness.PropertySection, Raw: harness.List(harness.Null, harness.Null, harness.String(address))},
		harness.Section{Code: harness.DataSection, Raw: harness.Binary(body)})
}

// annotated returns a message with one annotation.
func annotated(body, name string, value []byte) []byte {
	return harness.Encode(
		harness.Section{Code: harness.AnnotationSection, Raw: harness.Map(harness.Symbol(name), value)},
		harness.Section{Code: harness.DataSection, Raw: harness.Binary(body)})
}

func withValue(v string) func(*kgo.Record) bool {
	return func(r *kgo.Record) bool { return string(r.Value) == v }
}

// AKB-A1: a target that is a topic; one with slashes; the anonymous terminus; a message's own address, which goes before the
// target's.
func TestAMQP_Addresses_AKB_A1(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	plain := topic(t, world.kafka, "address", 1)
	dotted := plain + ".b"
	must(t, harness.CreateTopic(deadline(t), world.kafka.Addrs(), dotted, 1, nil))
	inPlain, inDotted := open(t, world.kafka, plain), open(t, world.kafka, dotted)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		p := q.meet(t, m)
		for target, records := range map[string]*tap{plain: inPlain, plain + "/b": inDotted, "/" + plain: inPlain, "queue://" + plain: inPlain} {
			body := m.Name + " to " + target
			send(t, sender(t, p, target), harness.Data([]byte(body)))
			if r := records.wait(t, withValue(body)); len(r.Key) > 0 {
				t.Errorf("%s: key %q", body, r.Key)
			}
		}
		anonymous := sender(t, p, "")
		send(t, anonymous, to(plain, m.Name+" anonymous"))
		inPlain.wait(t, withValue(m.Name+" anonymous"))
		send(t, anonymous, to(plain+"/b", m.Name+" anonymous, slash"))
		inDotted.wait(t, withValue(m.Name+" anonymous, slash"))
		send(t, sender(t, p, plain), to(plain+"/b", m.Name+" override"))
		inDotted.wait(t, withValue(m.Name+" override"))
	})
}

// AKB-A2: the partition that is asked for; a key, which finds the partition that Kafka's own clients find; else all partitions.
func TestAMQP_Partitions_AKB_A2(t *testing.T) {
	t.Parallel()
	q, in := sharedQuay(t), topic(t, world.kafka, "partitions", 4)
	records, client := open(t, world.kafka, in), producer(t, world.kafka)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		s := sender(t, q.meet(t, m), in)
		for partition := range int32(4) {
			body := fmt.Sprint(m.Name, " partition ", partition)
			send(t, s, annotated(body, "x-opt-bridge.partition", harness.Int(partition)))
			if r := records.wait(t, withValue(body)); r.Partition != partition {
				t.Errorf("partition %d asked for, got %d", partition, r.Partition)
			}
		}
		for i, name := range []string{"x-opt-bridge.key", "x-opt-partition-key", "x-opt-bridge.key", "x-opt-partition-key"} {
			key := fmt.Sprint("größe ", i)
			body := fmt.Sprint(m.Name, " ", key)
			send(t, s, annotated(body, name, harness.String(key)))
			native := record(in, key, []byte("native"))
			must(t, client.ProduceSync(deadline(t), native).FirstErr())
			if r := records.wait(t, withValue(body)); r.Partition != native.Partition || string(r.Key) != key {
				t.Errorf("key %q: partition %d, others find %d", r.Key, r.Partition, native.Partition)
			}
		}
	})
	s := sender(t, q.meet(t, peerMade("go-amqp")), in)
	for i := range 80 { // as with Kafka's own clients the partition changes after some ten thousands of bytes
		send(t, s, harness.Data(fmt.Append(nil, strings.Repeat("x", 10_000), i)))
	}
	used := map[int32]bool{}
	records.wait(t, func(r *kgo.Record) bool {
		if len(r.Value) > 10_000 {
			used[r.Partition] = true
		}
		return strings.HasSuffix(string(r.Value), "x79")
	})
	if len(used) < 2 {
		t.Errorf("without key or partition all is in %v", used)
	}
}

// AKB-A2, AKB-W7: annotations of wrong types or values are the message's fault: it is rejected, and the link goes on.
func TestAMQP_WrongAnnotations_AKB_A2(t *testing.T) {
	t.Parallel()
	q, in := sharedQuay(t), topic(t, world.kafka, "annotations", 2)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		s := sender(t, q.meet(t, m), in)
		for _, wrong := range [][]byte{
			annotated("x", "x-opt-bridge.partition", harness.String("one")),
			annotated("x", "x-opt-bridge.partition", harness.Int(-1)),
			annotated("x", "x-opt-bridge.partition", harness.Int(99)),
			annotated("x", "x-opt-bridge.key", harness.Int(1)),
		} {
			if o := outcome(t, s, wrong); o.State != harness.Rejected || o.Condition == "" || o.Description == "" {
				t.Errorf("%x: %+v", wrong, o)
			}
			send(t, s, harness.Data([]byte("good")))
		}
	})
}

// outcome sends a message and returns what became of it.
func outcome(t *testing.T, l harness.Link, message []byte) harness.Outcome {
	t.Helper()
	r, err := l.Send(deadline(t), message)
	must(t, err)
	o, err := r.Outcome(deadline(t))
	must(t, err)
	return o
}

// AKB-A3, P2: what Kafka refuses for good is rejected with the reason, and the link goes on.
func TestAMQP_Rejected_AKB_A3(t *testing.T) {
	t.Parallel()
	q, in := sharedQuay(t), fmt.Sprintf("narrow-%d", topics.Add(1))
	limit := "1000"
	must(t, harness.CreateTopic(deadline(t), world.kafka.Addrs(), in, 1, map[string]*string{"max.message.bytes": &limit}))
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		p := q.meet(t, m)
		s := sender(t, p, in)
		if o := outcome(t, s, harness.Data(noise(0)[:1000])); o.State != harness.Rejected || o.Condition != "amqp:link:message-size-exceeded" || o.Description == "" {
			t.Errorf("too large for the topic: %+v", o)
		}
		send(t, s, harness.Data([]byte("small enough")))
		nowhere := sender(t, p, "")
		if o := outcome(t, nowhere, to("größe", "x")); o.State != harness.Rejected || o.Condition == "" || o.Description == "" {
			t.Errorf("to what can be no topic of Kafka: %+v", o)
		}
		if m.Name != "vertx" { // it refuses that itself
			if o := outcome(t, nowhere, harness.Data([]byte("x"))); o.State != harness.Rejected || o.Condition == "" || o.Description == "" {
				t.Errorf("to nobody: %+v", o)
			}
		}
		send(t, nowhere, to(in, "small enough"))
	})
}

// AKB-A3, AKB-W1: a hundred thousand unsettled messages over one link with a credit of 100: all accepted, all in Kafka, in order.
func TestAMQP_Credit_AKB_A3(t *testing.T) {
	t.Parallel()
	q, in := sharedQuay(t), topic(t, world.kafka, "credit", 2)
	var ledger harness.Ledger
	p := &harness.AMQPPublisher{URL: func() string { return q.url(bySmall) }, Name: "hundred-thousand", Address: in, Count: 100_000, Window: 500, Ledger: &ledger}
	must(t, p.Run(deadline(t)))
	if p.Connections() != 1 {
		t.Errorf("%d connections", p.Connections())
	}
	balance(t, world.kafka.Addrs(), &ledger, false, in)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) { // more at once than there is credit
		in := topic(t, world.kafka, "credit", 1)
		s := sender(t, meet(t, m, harness.PeerOptions{URL: q.url(bySmall)}), in)
		var receipts []*harness.Receipt
		for i := range 1000 {
			r, err := s.Send(deadline(t), harness.Data(fmt.Append(nil, i)))
			must(t, err)
			receipts = append(receipts, r)
		}
		for i, r := range receipts {
			if o, err := r.Outcome(deadline(t)); err != nil || o.State != harness.Accepted {
				t.Fatalf("message %d: %+v, %v", i, o, err)
			}
		}
		ordered(t, in, 1000)
	})
}

// ordered fails the test unless the topic's one partition has the numbers up to n-1, in order.
func ordered(t *testing.T, topic string, n int) {
	t.Helper()
	i := 0
	must(t, harness.ReadUntil(deadline(t), world.kafka.Addrs(), func(r *kgo.Record) {
		if string(r.Value) != fmt.Sprint(i) {
			t.Errorf("record %d is %q", i, r.Value)
		}
		i++
	}, func() bool { return i >= n }, topic))
	if i != n {
		t.Errorf("%d records of %d messages", i, n)
	}
}

// AKB-A4, AKB-W9: settled messages get no answer, and credit for them never ends; they and others that come over another link of
// the connection, each link in its order.
func TestAMQP_Settled_AKB_A4(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		in := topic(t, world.kafka, "settled", 1)
		p := meet(t, m, harness.PeerOptions{URL: q.url(bySmall)})
		s := attach(t, p, harness.LinkOptions{Address: in, Settled: true})
		for i := range 1000 {
			_, err := s.Send(deadline(t), harness.Data(fmt.Append(nil, i)))
			must(t, err)
		}
		ordered(t, in, 1000)
	})
}

// P1: as long as Kafka cannot be reached nothing is accepted, links hold what there was credit for, and the connection lives; then all is
// accepted, in order.
func TestAMQP_KafkaAway_AKB_A3(t *testing.T) {
	t.Parallel()
	in, way := topic(t, world.kafka, "away", 1), network(t)
	l := start(t, 1, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s]}\nendpoints: {apps: {listen: \"amqp://%s\", credit: 50}}\nspool: {dir: \"off\"}\n", strings.Join(way.Addrs(), ", "), harness.Loopback(p[0]))
	})
	p := meet(t, peerMade("rhea"), harness.PeerOptions{URL: "amqp://" + l.Addr(0)})
	s := sender(t, p, in)
	send(t, s, harness.Data([]byte("0")))
	way.Refuse()
	var receipts []*harness.Receipt
	for i := range 200 {
		r, err := s.Send(deadline(t), harness.Data(fmt.Append(nil, i+1)))
		must(t, err)
		receipts = append(receipts, r)
	}
	says503(t, l)
	ended := ended(t)
	for i, r := range receipts {
		if o, err := r.Outcome(ended); err == nil {
			t.Fatalf("message %d was %s while Kafka was away", i+1, o.State)
		}
	}
	must(t, way.Heal())
	for i, r := range receipts {
		if o, err := r.Outcome(deadline(t)); err != nil || o.State != harness.Accepted {
			t.Fatalf("message %d: %+v, %v", i+1, o, err)
		}
	}
	ordered(t, in, 201)
}

// ended returns a context with which waiting ends at once.
func ended(t *testing.T) context.Context {
	ctx, end := context.WithCancel(t.Context())
	end()
	return ctx
}

// says503 waits until Linkspan says that it is not ready.
func says503(t *testing.T, l *harness.Linkspan) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		if err := ready(t, l, 503); err != nil {
			return errors.Join(errors.New("Linkspan does not notice"), err)
		}
		return nil
	}))
}
