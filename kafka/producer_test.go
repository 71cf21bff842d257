package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/custody"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The custody suite: P1, P2 and P3 of the producer.
func TestProducerCustody(t *testing.T) {
	custody.TestSink(t, func(t *testing.T) *custody.Far {
		cluster := startKfake(t, kfake.SeedTopics(1, "custody"))
		addr := cluster.ListenAddrs()[0]
		p := connect(t, testConfig(addr)).Producer()
		var fault *kfake.FaultHandle
		var mu sync.Mutex
		refusing := false
		return &custody.Far{
			Sink: linkspan.SinkFunc(func(ctx context.Context, m *linkspan.Message, done func(error)) {
				mu.Lock()
				if refusing {
					m.Payload = make([]byte, 2<<20) // larger than max_message_bytes
				}
				mu.Unlock()
				p.Send(ctx, m, done)
			}),
			Modes: []custody.Mode{custody.Delay, custody.Refuse},
			Stored: func() []string {
				all, err := readAll(context.Background(), addr, "custody")
				if err != nil {
					t.Error(err)
				}
				return values(all[0])
			},
			Set: func(m custody.Mode) {
				mu.Lock()
				defer mu.Unlock()
				if fault != nil {
					fault.Remove()
					fault = nil
				}
				refusing = m == custody.Refuse
				if m == custody.Delay {
					fault = cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
				}
			},
		}
	})
}

// All of the record arrives as it was, whatever the sender does with its buffers afterwards.
func TestProducerCopies(t *testing.T) {
	addr := startKfake(t).ListenAddrs()[0]
	p := connect(t, testConfig(addr)).Producer()
	m := new(linkspan.Message)
	o := newOutcomes()
	stamp := time.UnixMilli(1_700_000_000_123)
	name, buf := []byte("name"), []byte("value")
	for i := range 100 {
		m.Reset()
		m.Payload = append(m.Payload[:0], fmt.Sprint("payload-", i)...)
		m.Record.Topic, m.Record.Partition, m.Record.Timestamp = "t", 1, stamp
		m.Record.Key = append(m.Record.Key[:0], fmt.Sprint("key-", i)...)
		m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: "constant", Value: buf}, linkspan.Header{Key: string(name)}, linkspan.Header{Key: "", Value: []byte{}})
		p.Send(context.Background(), m, o.done)
		clear(m.Payload)
		clear(m.Record.Key)
	}
	clear(buf)
	for range 100 {
		if err := o.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range contents(t, addr, "t")[1] {
		want := &kgo.Record{Key: []byte(fmt.Sprint("key-", i)), Value: []byte(fmt.Sprint("payload-", i)), Headers: []kgo.RecordHeader{{Key: "constant", Value: []byte("value")}, {Key: "name"}, {Key: "", Value: []byte{}}}}
		if !bytes.Equal(r.Key, want.Key) || !bytes.Equal(r.Value, want.Value) || !reflect.DeepEqual(r.Headers, want.Headers) || !r.Timestamp.Equal(stamp) {
			t.Fatalf("record %d: %q %q %+v %v", i, r.Key, r.Value, r.Headers, r.Timestamp)
		}
	}
	if s := p.Stats(); s.Records.Load() != 100 || s.InFlight.Load() != 0 || s.InFlightBytes.Load() != 0 || s.LastAck.Load() == 0 {
		t.Errorf("stats: %d records, %d in flight of %d bytes, last ack %d", s.Records.Load(), s.InFlight.Load(), s.InFlightBytes.Load(), s.LastAck.Load())
	}
}

// No value deletes from a compacted topic, so only a tombstone has none; a device's empty payload, which may be nil, is an empty
// value. No key is not the same as an empty one either. Both come back as they were.
func TestProducerTombstones(t *testing.T) {
	addr := startKfake(t).ListenAddrs()[0]
	c := connect(t, testConfig(addr))
	for _, m := range []*linkspan.Message{
		{Record: linkspan.Record{Topic: "t", Partition: 0, Key: []byte("k"), Tombstone: true}, Payload: []byte("of no matter")},
		{Record: linkspan.Record{Topic: "t", Partition: 0}},
		{Record: linkspan.Record{Topic: "t", Partition: 0, Key: []byte{}}, Payload: []byte{}},
	} {
		if err := send(t, c.Producer(), m); err != nil {
			t.Fatal(err)
		}
	}
	got := contents(t, addr, "t")[0]
	if r := got[0]; r.Value != nil || string(r.Key) != "k" {
		t.Errorf("a tombstone became %q %#v", r.Key, r.Value)
	}
	if r := got[1]; r.Key != nil || r.Value == nil || len(r.Value) != 0 {
		t.Errorf("a nil payload without key became %#v %#v", r.Key, r.Value)
	}
	if r := got[2]; r.Key == nil || r.Value == nil {
		t.Errorf("empty became %#v %#v", r.Key, r.Value)
	}
	var back []bool
	if _, err := c.ReadAt(testContext(t), "t", 0, 0, 1<<20, func(m *linkspan.Message) { back = append(back, m.Record.Tombstone) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(back, []bool{true, false, false}) {
		t.Errorf("tombstones come back as %v", back)
	}
}

func TestProducerRefuses(t *testing.T) {
	cluster := startKfake(t, kfake.EnableACLs(), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "root", "r"),
		kfake.User("PLAIN", "device", "d",
			kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "t", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationAll, Allow: true},
			kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "small", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationAll, Allow: true},
			kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "read", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationDescribe, Allow: true}),
		kfake.SeedTopics(1, "read"))
	if err := cluster.CreateTopic("small", 1, map[string]string{"max.message.bytes": "2000"}); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.SASL = &SASLConfig{Mechanism: "plain", Username: "device", Password: "d"}
	cfg.Producer.UnknownTopicTimeout = cfg.RetryInterval
	p := connect(t, cfg).Producer()
	for name, c := range map[string]struct {
		m    *linkspan.Message
		want error
	}{
		"ok":                         {message("t", "k", "v"), nil},
		"larger than the topic's":    {message("small", "k", strings.Repeat("x", 2000)), linkspan.ErrTooLarge},
		"not allowed to write":       {message("read", "k", "v"), linkspan.ErrNotAuthorized},
		"not allowed to create":      {message("new", "k", "v"), linkspan.ErrNotAuthorized},
		"no topic":                   {message("", "k", "v"), linkspan.ErrInvalidTopic},
		"a partition it has not got": {&linkspan.Message{Record: linkspan.Record{Topic: "t", Partition: 3}}, ErrNoPartition},
	} {
		err := send(t, p, c.m)
		if !errors.Is(err, c.want) || c.want != nil && !linkspan.IsPermanent(err) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// One refusal holds up nobody.
	if err := send(t, p, message("t", "k", "v")); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
	if s := p.Stats(); s.Refused.Load() != 5 || s.Records.Load() != 2 {
		t.Errorf("%d refused, %d written", s.Refused.Load(), s.Records.Load())
	}
}

func TestProducerCreatesTopics(t *testing.T) {
	cluster := startKfake(t)
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Topics.Partitions, cfg.Topics.Configs = 5, map[string]string{"retention.ms": "1000000"}
	c := connect(t, cfg)
	c.SpecifyTopics(func(topic string) TopicSpec {
		if topic == "special" {
			return TopicSpec{Partitions: 2}
		}
		return TopicSpec{}
	})
	o := newOutcomes()
	for i := range 100 { // messages arrive while it is being created, and keep their order
		c.Producer().Send(context.Background(), message("new", "k", fmt.Sprint(i)), o.done)
	}
	for range 100 {
		if err := o.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if err := send(t, c.Producer(), message("special", "k", "v")); err != nil {
		t.Fatal(err)
	}
	if a, b := len(cluster.PartitionInfos("new")), len(cluster.PartitionInfos("special")); a != 5 || b != 2 {
		t.Errorf("%d and %d partitions", a, b)
	}
	for _, records := range contents(t, cluster.ListenAddrs()[0], "new") {
		if len(records) > 0 && !slices.Equal(values(records), numbered(100)) {
			t.Errorf("out of order: %v", values(records))
		}
	}
	for _, name := range []string{"not/legal", ".", "..", "ä", strings.Repeat("x", 250)} {
		if err := send(t, c.Producer(), message(name, "k", "v")); !errors.Is(err, linkspan.ErrInvalidTopic) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProducerDoesNotCreateTopics(t *testing.T) {
	cluster := startKfake(t)
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Topics.Create = false
	cfg.Producer.UnknownTopicTimeout = 100 * time.Millisecond
	p := connect(t, cfg).Producer()
	err := send(t, p, message("new", "k", "v"))
	if !errors.Is(err, ErrUnknownTopic) || !linkspan.IsPermanent(err) || !strings.Contains(err.Error(), "kafka.topics.create") {
		t.Fatalf("unknown topic: %v", err)
	}
	if err := cluster.CreateTopic("new", 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := send(t, p, message("new", "k", "v")); err != nil {
		t.Fatalf("after somebody created it: %v", err)
	}
}

// A topic that is deleted and created again while messages flow: what was acknowledged after that is in the new one.
func TestProducerSurvivesRecreatedTopic(t *testing.T) {
	cluster := startKfake(t)
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Producer.UnknownTopicTimeout = 60 * time.Millisecond
	p := connect(t, cfg).Producer()
	for round := range 3 {
		acked := map[string]bool{}
		for len(acked) < 20 {
			v := fmt.Sprint(round, "-", len(acked))
			switch err := send(t, p, message("again", "k", v)); {
			case err == nil:
				acked[v] = true
			case linkspan.IsPermanent(err):
				t.Fatalf("refused for good: %v", err)
			}
		}
		found := map[string]bool{}
		for _, records := range contents(t, cluster.ListenAddrs()[0], "again") {
			for _, v := range values(records) {
				found[v] = true
			}
		}
		for v := range acked {
			if !found[v] {
				t.Errorf("%s was acknowledged and is not there (P1)", v)
			}
		}
		if err := cluster.DeleteTopic("again"); err != nil {
			t.Fatal(err)
		}
	}
}

// A topic whose limit is lowered: its batches are made smaller, and only what is too large by itself is refused.
func TestProducerFollowsLoweredLimit(t *testing.T) {
	cluster := startKfake(t)
	addr := cluster.ListenAddrs()[0]
	cfg := testConfig(addr)
	cfg.Producer.Linger = 20 * time.Millisecond // for large batches
	c := connect(t, cfg)
	if err := send(t, c.Producer(), message("t", "k", "first")); err != nil {
		t.Fatal(err)
	}
	lower := kmsg.NewPtrIncrementalAlterConfigsRequest()
	lower.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "max.message.bytes", Value: kmsg.StringPtr("5000")}},
	}}
	if resp, err := lower.RequestWith(testContext(t), c.kgo); err != nil || resp.Resources[0].ErrorCode != 0 {
		t.Fatal(resp, err)
	}
	payload := strings.Repeat("x", 900)
	acked := 1
	for len(payload) > 0 && acked < 101 {
		o := newOutcomes()
		n := 101 - acked
		for range n {
			c.Producer().Send(context.Background(), message("t", "k", payload), o.done)
		}
		for range n {
			if err := o.wait(t); err == nil {
				acked++
			} else if linkspan.IsPermanent(err) {
				t.Fatal(err)
			}
		}
	}
	if err := send(t, c.Producer(), message("t", "k", strings.Repeat("x", 5000))); !errors.Is(err, linkspan.ErrTooLarge) {
		t.Errorf("too large by itself: %v", err)
	}
	n := 0
	for _, records := range contents(t, addr, "t") {
		n += len(records)
	}
	if n != acked {
		t.Errorf("%d acknowledged, %d there", acked, n)
	}
}

// Memory is bounded (P6), and Send does not block when Kafka is away.
func TestProducerRoom(t *testing.T) {
	cluster := startKfake(t)
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Producer.MaxBufferedBytes = 64 << 10
	p := connect(t, cfg).Producer()
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	o := newOutcomes()
	sent := 0
	for p.Room(nil) {
		p.Send(context.Background(), message("t", "k", strings.Repeat("x", 1024)), o.done)
		sent++
	}
	if at := p.Stats().InFlightBytes.Load(); at < 64<<10 || at > 66<<10 {
		t.Errorf("%d bytes in flight when there is no room", at)
	}
	until(t, "an age", func() bool { return p.OldestUnacked() > 0 })
	fault.Remove()
	for range sent {
		if err := o.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if !p.Room(nil) || p.OldestUnacked() != 0 {
		t.Errorf("room %v, oldest %v when all is acknowledged", p.Room(nil), p.OldestUnacked())
	}
}

func TestProducerDrain(t *testing.T) {
	cluster := startKfake(t)
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	p := c.Producer()
	o := newOutcomes()
	for i := range 100 {
		p.Send(context.Background(), message("drained", "k", fmt.Sprint(i)), o.done)
	}
	if err := p.Drain(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if o.count() != 100 {
		t.Errorf("%d of 100 done after Drain (P8)", o.count())
	}
	if err := send(t, p, message("t", "k", "v")); !errors.Is(err, linkspan.ErrClosed) || linkspan.IsPermanent(err) {
		t.Errorf("after Drain: %v", err)
	}
	c.Close()
	c.Close()
}

// What Kafka has not taken when the time is up stays with the sender.
func TestProducerDrainTimeout(t *testing.T) {
	cluster := startKfake(t)
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	o := newOutcomes()
	c.Producer().Send(context.Background(), message("t", "k", "v"), o.done)
	if err := fault.Wait(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Producer().Drain(ctx); err == nil {
		t.Error("Drain says that all is acknowledged")
	}
	c.Close()
	if err := o.wait(t); !errors.Is(err, linkspan.ErrClosed) {
		t.Errorf("done with %v", err)
	}
}

// Keys go where Kafka's Java clients put them: murmur2 vectors of org.apache.kafka.common.utils.UtilsTest.
func TestPartitionerIsJavas(t *testing.T) {
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		for _, n := range []int{2, 3, 7, 100} {
			p := newPartitioner("murmur2").ForTopic("t").(kgo.TopicBackupPartitioner)
			got := p.PartitionByBackup(&kgo.Record{Key: []byte(key), Partition: linkspan.AnyPartition}, n, nil)
			if want := int(hash&0x7fffffff) % n; got != want {
				t.Errorf("%q of %d: partition %d, want %d", key, n, got, want)
			}
		}
	}
}

// The check value of CRC-32 is that of "123456789".
func TestPartitionerIsLibrdkafkas(t *testing.T) {
	p := newPartitioner("crc32").ForTopic("t").(kgo.TopicBackupPartitioner)
	got := p.PartitionByBackup(&kgo.Record{Key: []byte("123456789"), Partition: linkspan.AnyPartition}, 1000, nil)
	if want := 0xcbf43926 % 1000; got != want {
		t.Errorf("partition %d, want %d", got, want)
	}
}

func TestPartitionerSticksWithoutKey(t *testing.T) {
	addr := startKfake(t, kfake.SeedTopics(20, "many")).ListenAddrs()[0]
	p := connect(t, testConfig(addr)).Producer()
	for range 20 {
		if err := send(t, p, message("many", "", "v")); err != nil {
			t.Fatal(err)
		}
	}
	used := 0
	for _, records := range contents(t, addr, "many") {
		if len(records) > 0 {
			used++
		}
	}
	if used != 1 {
		t.Errorf("20 small records without key went to %d partitions", used)
	}
}

// What a Keeper shows is what it was sent, until the done of it has returned, whatever its sender does with the message.
func TestProducerKeeps(t *testing.T) {
	c := connect(t, testConfig(startKfake(t).ListenAddrs()...))
	p := c.Producer()
	m := message("t", "k", "value")
	m.Topic, m.Endpoint, m.Route, m.Received = "site/a", "devices", "up", time.UnixMilli(1_700_000_000_123)
	m.Record.Partition = 0
	m.Record.Headers = []linkspan.Header{{Key: "h", Value: []byte("v")}}
	want := m.Clone()
	shown := make(chan *linkspan.Message, 1)
	var kept linkspan.Kept
	var ready sync.WaitGroup
	ready.Add(1)
	kept = p.Keep(t.Context(), m, func(err error) {
		ready.Wait()
		var got linkspan.Message
		kept.Show(&got)
		shown <- got.Clone()
		if err != nil {
			t.Error(err)
		}
	})
	clear(m.Payload) // it was borrowed
	clear(m.Record.Key)
	clear(m.Record.Headers[0].Value)
	ready.Done()
	got := <-shown
	got.Record.Timestamp = want.Record.Timestamp // of sending, where none was said
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *want) {
		t.Errorf("sent  %+v\nshown %+v", *want, *got)
	}
}
