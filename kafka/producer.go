package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Producer writes messages to Kafka. It is a [linkspan.Bounded] sink: done(nil) means that all in-sync replicas have the
// record (P1). Send never blocks and never cancels: a record that was handed over is retried until the cluster has it, refuses
// it, or the client is closed. Records of one partition keep the order of Send (P3).
type Producer struct {
	c       *Client
	records sync.Pool // of *record
	ages    ages
	closed  atomic.Bool
	stats   ProducerStats

	mu      sync.Mutex
	clients []*kgo.Client // the first is the Client's own; see topic.moves
}

var _ linkspan.Keeper = (*Producer)(nil)

// ProducerStats counts what a [Producer] did since it was made.
type ProducerStats struct {
	// Records and Bytes (keys, values and headers) that the cluster has acknowledged.
	Records, Bytes atomic.Uint64
	// Refused counts messages that were done with a permanent error, Failed those that stayed with the sender.
	Refused, Failed atomic.Uint64
	// InFlight and InFlightBytes are handed over and not done. The bytes count as MaxBufferedBytes does.
	InFlight, InFlightBytes Tally
	// LastAck is when a record was acknowledged last, in nanoseconds since 1970, 0 for never. While others are in flight only
	// every eighth counts.
	LastAck atomic.Int64
}

func newProducer(c *Client) *Producer { return &Producer{c: c} }

// options are the kgo options of a client that produces.
func (p *Producer) options() []kgo.Opt {
	s := &p.c.cfg.Producer
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
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

// A record is a message on its way to Kafka, with its own copy of all that it borrowed. Records are reused: the Kafka client does
// not touch one again once it has called the promise (it takes the records out of a batch before, under the batch's lock).
//
// A usual message fits into the one piece of memory that the record is. Thousands are on the way at a time, and what is not
// side by side has to be fetched from memory again for each.
type record struct {
	kgo.Record
	p       *Producer
	topic   *topic
	size    int // bytes of key, value and headers
	encoded int // bytes as a batch of its own, at most
	age     *Tally
	done    func(error)
	promise func(*kgo.Record, error) // r.finish, bound once for the record's many lives

	// What Show tells beside the record. The MQTT topic is kept only for those who ask: see Keep.
	endpoint, route string
	from            []byte // the MQTT topic
	received        time.Time
	partition       int32     // as asked for, and
	timestamp       time.Time // as said: the Kafka client writes into the record what it made of them

	headers [8]kgo.RecordHeader
	bytes   [288]byte // key, value, and headers' values
}

const (
	recordKeep  = 1 << 10 // bytes that a record costs beside its own: the struct, and the Kafka client's for it
	headerKeep  = 48      // and a header
	batchFrame  = 128     // bytes of a batch with one record, and of that record, beside key, value and headers, at most
	headerFrame = 10      // two lengths
)

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

// send returns the record that m has become, nil if it was refused. It keeps topic beside it.
func (p *Producer) send(m *linkspan.Message, topic string, done func(error)) *record {
	t := p.c.topics.get(m.Record.Topic)
	if t == nil {
		p.refuse(done, fmt.Errorf("%w: %q", linkspan.ErrInvalidTopic, m.Record.Topic))
		return nil
	}
	n := len(m.Record.Key) + len(m.Payload)
	for i := range m.Record.Headers {
		n += len(m.Record.Headers[i].Key) + len(m.Record.Headers[i].Value)
	}
	encoded := n + batchFrame + headerFrame*len(m.Record.Headers)
	if limit := p.limit(t); encoded > int(limit) {
		p.refuse(done, tooLarge(encoded, t, limit))
		return nil
	}
	if p.closed.Load() {
		p.refuse(done, linkspan.ErrClosed)
		return nil
	}
	r, now := p.copy(m, topic, n), m.Received
	if now.IsZero() {
		now = time.Now()
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = now
	}
	r.timestamp = r.Timestamp
	r.topic, r.done, r.size, r.encoded, r.age = t, done, n, encoded, p.ages.enter(now)
	p.stats.InFlight.in(1)
	p.stats.InFlightBytes.in(r.cost())
	t.sent.in(1)
	if cl := t.client.Load(); cl != nil {
		cl.Produce(context.Background(), &r.Record, r.promise)
		return r
	}
	t.sent.out(1)
	p.c.topics.hold(t, r)
	return r
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
	return p.stats.InFlightBytes.Load() < p.c.cfg.Producer.MaxBufferedBytes
}

// copy returns a record with a copy of what m borrows, n bytes in all, and of topic.
func (p *Producer) copy(m *linkspan.Message, topic string, n int) *record {
	r, _ := p.records.Get().(*record)
	if r == nil {
		r = &record{p: p}
		r.promise = r.finish
	}
	b, headers := r.bytes[:0], r.headers[:0]
	if n += len(topic); n > cap(b) {
		b = make([]byte, 0, n)
	}
	keep := func(v []byte) []byte {
		if v == nil {
			return nil // Kafka tells no key from an empty one, and no value of a header
		}
		at := len(b)
		b = append(b, v...)
		return b[at:len(b):len(b)]
	}
	var value []byte // none, a tombstone
	if !m.Record.Tombstone {
		if value = keep(m.Payload); value == nil {
			value = b[:0] // empty: MQTT has no other kind of nothing
		}
	}
	r.Record = kgo.Record{Key: keep(m.Record.Key), Value: value, Topic: m.Record.Topic, Partition: m.Record.Partition, Timestamp: m.Record.Timestamp}
	for _, h := range m.Record.Headers {
		headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: keep(h.Value)})
	}
	r.Headers = headers
	r.endpoint, r.route, r.received, r.partition = m.Endpoint, m.Route, m.Received, m.Record.Partition
	r.from = append(b, topic...)[len(b):]
	return r
}

// Show fills in m with what is on its way. See [linkspan.Kept].
func (r *record) Show(m *linkspan.Message) {
	m.Topic, m.Payload = unsafe.String(unsafe.SliceData(r.from), len(r.from)), r.Value
	m.Endpoint, m.Route, m.Received = r.endpoint, r.route, r.received
	m.Record = linkspan.Record{
		Topic: r.topic.name, Partition: r.partition, Timestamp: r.timestamp, Key: r.Key, Headers: m.Record.Headers[:0], Tombstone: r.Value == nil,
	}
	for i := range r.Headers {
		m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: r.Headers[i].Key, Value: r.Headers[i].Value})
	}
}

// cost is what r counts towards MaxBufferedBytes.
func (r *record) cost() int64 { return int64(r.size + recordKeep + headerKeep*len(r.Headers)) }

// produce hands r to a Kafka client.
func (r *record) produce(cl *kgo.Client) {
	r.topic.sent.in(1)
	cl.Produce(context.Background(), &r.Record, r.promise)
}

// finish is the promise of r: called once, from the Kafka client's goroutine, in order for each partition.
func (r *record) finish(_ *kgo.Record, err error) {
	t := r.topic
	if err != nil {
		if err = r.judge(err); !r.p.closed.Load() {
			switch {
			case errors.Is(err, errOutgrown):
				r.p.c.topics.shut(t, r.p.limit(t))
			case errors.Is(err, ErrUnknownTopic), errors.Is(err, errVanished):
				r.p.c.topics.shut(t, 0)
			}
		}
	}
	t.sent.out(1)
	r.end(err)
}

var (
	// A batch was larger than the topic takes, though none of its records is: the topic's limit was lowered. The next attempt
	// is made with the right one, and a record that is too large by itself is refused there.
	errOutgrown = errors.New("the Kafka topic takes only smaller batches than before")
	// The topic was deleted while records were on the way, and is created again.
	errVanished = errors.New("the Kafka topic was deleted")
)

// judge classifies the outcome of r, with what only the record knows.
func (r *record) judge(err error) error {
	switch {
	case r.Partition == noPartition:
		return fmt.Errorf("%w: %s", ErrNoPartition, r.topic.name)
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fmt.Errorf("%w: %s", errOutgrown, r.topic.name)
	}
	err = classify(r.topic.name, err)
	if errors.Is(err, ErrUnknownTopic) && r.p.c.cfg.Topics.Create {
		return fmt.Errorf("%w: %s", errVanished, r.topic.name)
	}
	return err
}

// end tells who sent r, and gives it up.
func (r *record) end(err error) {
	p, size := r.p, r.size
	r.age.out(1)
	p.stats.InFlight.out(1)
	p.stats.InFlightBytes.out(r.cost())
	if err != nil {
		p.refuse(r.done, err)
	} else {
		p.stats.Bytes.Add(uint64(size))
		if n := p.stats.Records.Add(1); n%8 == 0 || p.stats.InFlight.Load() == 0 { // asking for the time is dear
			p.stats.LastAck.Store(time.Now().UnixNano())
		}
		r.done(nil)
	}
	large := size+len(r.from) > len(r.bytes)
	r.age, r.done, r.topic, r.from = nil, nil, nil, nil
	r.Record = kgo.Record{}
	if large { // they hold on to what did not fit into r
		clear(r.headers[:])
	}
	p.records.Put(r)
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
