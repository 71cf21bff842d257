package kafka

import (
	"context"
	"time"
	"unsafe"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A record is a message on its way to Kafka, with its own copy of all that it borrowed. Records are reused: the Kafka client does
// not touch one again once it has called the promise (it takes the records out of a batch before, under the batch's lock).
//
// Thousands are on the way at a time, from one processor to another, and each line of 64 bytes that one touches has to be
// fetched: nothing costs a message more here. So a usual message fits into the one piece of memory that the record is, and what
// is needed at the same time is side by side. The allocator puts 8 bytes before it, with which the first line is what Show
// tells, the next three are the Kafka client's and what the promise needs, and the copy follows.
type record struct {
	// What Show tells beside the Kafka client's record, or instead of it: that client writes into its own.
	endpoint, route string
	received        int64 // nanoseconds since 1970, never for none
	timestamp       int64 // milliseconds since 1970, as Kafka has it
	partition       int32 // as asked for
	fromLen         int32

	kgo.Record

	// What end needs.
	done       func(error)
	topic      *topic
	from       *byte // the MQTT topic. It is kept only for those who ask: see Keep
	size       int32 // bytes of key, value and headers
	generation int32 // see ages

	bytes   [320]byte // key, value, headers' values, and from
	headers [8]kgo.RecordHeader
}

// never is the time of what has not been.
const never = -1 << 63

const (
	recordKeep  = 1 << 10 // bytes that a record costs beside its own: the struct, and the Kafka client's for it
	headerKeep  = 48      // and a header
	batchFrame  = 128     // bytes of a batch with one record, and of that record, beside key, value and headers, at most
	headerFrame = 10      // two lengths
)

func newRecord() *record {
	r := new(record)
	r.Context = context.Background() // or the Kafka client would write it each time
	return r
}

// recordOf returns the record that k is in: all of the Kafka client's come from us.
func recordOf(k *kgo.Record) *record {
	return (*record)(unsafe.Add(unsafe.Pointer(k), -int(unsafe.Offsetof(record{}.Record))))
}

// fill has r be m, for Kafka's topic t, with a copy of what m borrows, n bytes in all, and of from.
func (r *record) fill(m *linkspan.Message, t *topic, from string, n int, now time.Time) {
	b, headers := r.bytes[:0], r.headers[:0]
	if r.size = int32(n); n+len(from) > cap(b) {
		b = make([]byte, 0, n+len(from))
	}
	r.Value = nil // a tombstone
	if !m.Record.Tombstone {
		b = append(b, m.Payload...)
		r.Value = b[:len(b):len(b)] // empty at the least: MQTT has no other kind of nothing
	}
	b, r.Key = keep(b, m.Record.Key)
	for i := range m.Record.Headers {
		h := kgo.RecordHeader{Key: m.Record.Headers[i].Key}
		b, h.Value = keep(b, m.Record.Headers[i].Value)
		headers = append(headers, h)
	}
	r.Headers = headers
	r.from, r.fromLen = unsafe.SliceData(append(b, from...)[len(b):]), int32(len(from))

	r.topic, r.Topic = t, t.name
	r.Partition, r.partition = m.Record.Partition, m.Record.Partition
	r.Timestamp = m.Record.Timestamp
	if r.Timestamp.IsZero() {
		r.Timestamp = now
	}
	r.timestamp, r.received = r.Timestamp.UnixMilli(), never
	if !m.Received.IsZero() {
		r.received = m.Received.UnixNano()
	}
	r.endpoint, r.route = m.Endpoint, m.Route
}

// keep appends v to b, and returns both. Kafka tells no key from an empty one, and no value of a header.
func keep(b, v []byte) (all, kept []byte) {
	if v == nil {
		return b, nil
	}
	at := len(b)
	b = append(b, v...)
	return b, b[at:len(b):len(b)]
}

// clear lets go of what r does not keep for its next life.
func (r *record) clear() {
	r.done = nil
	if int(r.size)+int(r.fromLen) > len(r.bytes) || len(r.Headers) > len(r.headers) { // they hold on to what did not fit
		r.Key, r.Value, r.Headers, r.from = nil, nil, nil, nil
		clear(r.headers[:])
	}
}

// Show fills in m with what is on its way. See [linkspan.Kept].
func (r *record) Show(m *linkspan.Message) {
	m.Topic, m.Payload = unsafe.String(r.from, r.fromLen), r.Value
	m.Endpoint, m.Route, m.Received = r.endpoint, r.route, time.Time{}
	if r.received != never {
		m.Received = time.Unix(0, r.received)
	}
	m.Record = linkspan.Record{
		Topic: r.topic.name, Partition: r.partition, Timestamp: time.UnixMilli(r.timestamp), Key: r.Key, Headers: m.Record.Headers[:0],
		Tombstone: r.Value == nil,
	}
	for i := range r.Headers {
		m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: r.Headers[i].Key, Value: r.Headers[i].Value})
	}
}

// cost is what r counts towards MaxBufferedBytes.
func (r *record) cost() int64 { return int64(r.size) + recordKeep + headerKeep*int64(len(r.Headers)) }

// encoded is what r takes as a batch of its own, in bytes, at most.
func (r *record) encoded() int { return encoded(int(r.size), len(r.Headers)) }

func encoded(size, headers int) int { return size + batchFrame + headerFrame*headers }
