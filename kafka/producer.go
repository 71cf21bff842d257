package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Producer writes messages to Kafka. It is a [linkspan.Bounded] sink: done(nil) means that all in-sync replicas have the
// record (P1). Send never blocks and never cancels: a record that was handed over is retried until the cluster has it, refuses
// it, or the client is closed. Records of one partition keep the order of Send (P3).
type Producer struct {
	c       *Client
	promise func(*kgo.Record, error) // p.finish, bound once
	records stock
	closed  atomic.Bool
	ages    ages
	heard   heard

	mu      sync.Mutex
	clients []*kgo.Client // the first is the Client's own; see topic.moves

	_     [64]byte
	stats ProducerStats // who finishes writes it
}

var _ linkspan.Keeper = (*Producer)(nil)

// ProducerStats counts what a [Producer] did since it was made.
type ProducerStats struct {
	// Records and Bytes (keys, values and headers) that the cluster has acknowledged.
	Records, Bytes atomic.Uint64
	// Refused counts messages that were done with a permanent error, Failed those that stayed with the sender.
	Refused, Failed atomic.Uint64
	// LastAck is when a record was acknowledged last, in nanoseconds since 1970, 0 for never.
	LastAck atomic.Int64
	// InFlight and InFlightBytes are handed over and not done. The bytes count as MaxBufferedBytes does.
	InFlight, InFlightBytes Gauge
}

// A Gauge is a number that is worked out when it is asked for.
type Gauge struct{ load func() int64 }

// Load returns the number of this moment.
func (g Gauge) Load() int64 { return g.load() }

// heard is when a broker answered last to records, in nanoseconds since 1970. It is a kgo hook: asking for the time is dear, and an
// answer is for many records.
type heard struct{ at atomic.Int64 }

// OnBrokerRead is called after each answer.
func (h *heard) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err == nil && key == int16(kmsg.Produce) {
		h.at.Store(time.Now().UnixNano())
	}
}

func newProducer(c *Client) *Producer {
	p := &Producer{c: c}
	p.promise = p.finish
	p.stats.InFlight.load, p.stats.InFlightBytes.load = c.topics.inFlight, p.ages.total
	return p
}

// options are the kgo options of a client that produces.
func (p *Producer) options() []kgo.Opt {
	s := &p.c.cfg.Producer
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.WithHooks(&p.heard),
		// The limits of the Kafka client would block in Send, so they are out of the way, and Room keeps ours.
		kgo.MaxBufferedRecords(math.MaxInt),
		kgo.ProducerLinger(s.Linger),
		kgo.ProducerBatchCompression(codec(s.Compression)...),
		kgo.ProducerBatchMaxBytesFn(func(name string) int32 {
			if t := (*p.c.topics.all.Load())[name]; t != nil {
				return max(p.limit(t), 512)
			}
			return s.MaxMessageBytes
		}),
		kgo.BrokerMaxWriteBytes(max(s.MaxMessageBytes, 100<<20)),
		kgo.RecordPartitioner(newPartitioner(s.Partitioner)),
		// A topic that is deleted under way: its records fail after this many answers, each RetryInterval apart.
		kgo.UnknownTopicRetries(int(s.UnknownTopicTimeout / p.c.cfg.RetryInterval)),
	}
}

// codec is what the brokers understand, in order of preference.
func codec(name string) []kgo.CompressionCodec {
	switch name {
	case "gzip":
		return []kgo.CompressionCodec{kgo.GzipCompression(), kgo.NoCompression()}
	case "snappy":
		return []kgo.CompressionCodec{kgo.SnappyCompression(), kgo.NoCompression()}
	case "lz4":
		return []kgo.CompressionCodec{kgo.Lz4Compression(), kgo.NoCompression()}
	case "zstd":
		return []kgo.CompressionCodec{kgo.ZstdCompression(), kgo.Lz4Compression(), kgo.NoCompression()}
	}
	return []kgo.CompressionCodec{kgo.NoCompression()}
}

// Send hands m.Record with m.Payload over to be written; a payload that is nil is an empty value, unless m.Record.Tombstone asks
// for none. See [linkspan.Sink]; its context does not matter.
func (p *Producer) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	p.send(m, "", done)
}

// Keep is Send, and shows the record until done has returned. See [linkspan.Keeper].
func (p *Producer) Keep(_ context.Context, m *linkspan.Message, done func(error)) linkspan.Kept {
	if r := p.send(m, m.Topic, done); r != nil {
		return r
	}
	return nil
}

// send returns the record that m has become, nil if it was refused. It keeps from beside it.
func (p *Producer) send(m *linkspan.Message, from string, done func(error)) *record {
	r, err := p.enter(m, from, done)
	if err != nil {
		p.refuse(done, err)
		return nil
	}
	if cl := r.topic.client.Load(); cl != nil {
		p.produce(cl, r)
	} else {
		p.c.topics.hold(r.topic, r)
	}
	return r
}

// enter makes a record of m, which is in flight then until end.
func (p *Producer) enter(m *linkspan.Message, from string, done func(error)) (*record, error) {
	t := p.c.topics.get(m.Record.Topic)
	if t == nil {
		return nil, fmt.Errorf("%w: %q", linkspan.ErrInvalidTopic, m.Record.Topic)
	}
	n := len(m.Record.Key) + len(m.Payload)
	for i := range m.Record.Headers {
		n += len(m.Record.Headers[i].Key) + len(m.Record.Headers[i].Value)
	}
	if n, limit := encoded(n, len(m.Record.Headers)), p.limit(t); n > int(limit) {
		return nil, tooLarge(n, t, limit)
	}
	if p.closed.Load() {
		return nil, linkspan.ErrClosed
	}
	now := m.Received
	if now.IsZero() {
		now = time.Now()
	}
	r := p.records.take()
	r.fill(m, t, from, n, now)
	r.done, r.generation = done, p.ages.enter(r.cost(), now)
	t.records.In(1)
	return r, nil
}

// produce hands r to a Kafka client.
func (p *Producer) produce(cl *kgo.Client, r *record) {
	cl.Produce(context.Background(), &r.Record, p.promise)
}

func tooLarge(encoded int, t *topic, limit int32) error {
	return fmt.Errorf("%w: %d bytes with its frame, Kafka topic %s takes %d", linkspan.ErrTooLarge, encoded, t.name, limit)
}

// limit is the largest batch that t takes, in bytes.
func (p *Producer) limit(t *topic) int32 {
	if l := t.limit.Load(); l > 0 && l < p.c.cfg.Producer.MaxMessageBytes {
		return l
	}
	return p.c.cfg.Producer.MaxMessageBytes
}

// Room reports whether less than MaxBufferedBytes is in flight.
func (p *Producer) Room(*linkspan.Message) bool {
	return p.ages.below(p.c.cfg.Producer.MaxBufferedBytes)
}

// finish is the promise of all records: called once for each, from the Kafka client's goroutine, in order for each partition.
func (p *Producer) finish(k *kgo.Record, err error) {
	r := recordOf(k)
	if err != nil {
		if err = p.judge(r, err); !p.closed.Load() {
			switch {
			case errors.Is(err, errOutgrown):
				p.c.topics.shut(r.topic, p.limit(r.topic))
			case errors.Is(err, ErrUnknownTopic), errors.Is(err, errVanished):
				p.c.topics.shut(r.topic, 0)
			}
		}
	}
	p.end(r, err)
}

var (
	// A batch was larger than the topic takes, though none of its records is: the topic's limit was lowered. The next attempt
	// is made with the right one, and a record that is too large by itself is refused there.
	errOutgrown = errors.New("the Kafka topic takes only smaller batches than before")
	// The topic was deleted while records were on the way, and is created again.
	errVanished = errors.New("the Kafka topic was deleted")
)

// judge classifies the outcome of r, with what only the record knows.
func (p *Producer) judge(r *record, err error) error {
	switch {
	case r.Partition == noPartition:
		return fmt.Errorf("%w: %s", ErrNoPartition, r.topic.name)
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fmt.Errorf("%w: %s", errOutgrown, r.topic.name)
	}
	err = classify(r.topic.name, err)
	if errors.Is(err, ErrUnknownTopic) && p.c.cfg.Topics.Create {
		return fmt.Errorf("%w: %s", errVanished, r.topic.name)
	}
	return err
}

// end tells who sent r, and gives it up.
func (p *Producer) end(r *record, err error) {
	r.topic.records.Out(1)
	p.ages.leave(r.cost(), r.generation)
	if err != nil {
		p.refuse(r.done, err)
	} else {
		p.stats.Bytes.Add(uint64(r.size))
		p.stats.Records.Add(1)
		if at := p.heard.at.Load(); at != p.stats.LastAck.Load() {
			p.stats.LastAck.Store(at)
		}
		r.done(nil)
	}
	r.clear()
	p.records.give(r)
}

func (p *Producer) refuse(done func(error), err error) {
	if linkspan.IsPermanent(err) {
		p.stats.Refused.Add(1)
	} else {
		p.stats.Failed.Add(1)
	}
	done(err)
}

// clientFor returns the Kafka client of topics that moved on that often.
func (p *Producer) clientFor(moves int) *kgo.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.clients) == 0 {
		p.clients = append(p.clients, p.c.kgo)
	}
	for len(p.clients) <= moves {
		cl, err := kgo.NewClient(append(p.c.common[:len(p.c.common):len(p.c.common)], p.options()...)...)
		if err != nil {
			panic("kafka: options that made one client do not make another: " + err.Error())
		}
		p.clients = append(p.clients, cl)
	}
	return p.clients[moves]
}

// Stats returns the live counters.
func (p *Producer) Stats() *ProducerStats { return &p.stats }

// OldestUnacked returns how long the oldest record in flight has waited, within a tenth of a second, 0 when none does.
func (p *Producer) OldestUnacked() time.Duration { return p.ages.oldest(time.Now()) }

// Drain takes no more messages (they are done with [linkspan.ErrClosed]) and waits until all that are in flight are
// done, or ctx ends (P8). It returns ctx's error then: what is left is still on its way until [Client.Close].
func (p *Producer) Drain(ctx context.Context) error {
	p.closed.Store(true)
	for p.stats.InFlight.Load() > 0 {
		p.mu.Lock()
		clients := append([]*kgo.Client{p.c.kgo}, p.clients...)
		p.mu.Unlock()
		for _, cl := range clients {
			if err := cl.Flush(ctx); err != nil {
				return fmt.Errorf("Kafka has not acknowledged %d records: %w", p.stats.InFlight.Load(), err)
			}
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil { // held for a topic that is not open
			return fmt.Errorf("Kafka has not acknowledged %d records: %w", p.stats.InFlight.Load(), err)
		}
	}
	return nil
}

// close closes all Kafka clients. What they hold is done with [linkspan.ErrClosed].
func (p *Producer) close() {
	p.closed.Store(true)
	p.mu.Lock()
	clients := p.clients
	p.mu.Unlock()
	for _, cl := range clients {
		cl.Close()
	}
}
