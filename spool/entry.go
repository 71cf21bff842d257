package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// An entry of the journal has the payload as its body, and all else in its head:
//
//	version    1 byte, 1
//	flags      1 byte: what is there, as nothing and empty are not the same to Kafka
//	timestamp  milliseconds since 1970, as Kafka has it; varint, as all numbers are
//	received   milliseconds since the timestamp
//	partition  as asked for
//	topic      of Kafka; length and bytes, as all that follows
//	from       the MQTT topic
//	endpoint
//	key
//	headers    how many; of each, the key, and the value with 1 more than its length: 0 is none
//
// The route is the lane. What a record was is kept to the millisecond and the byte: written twice, it can be recognised (P5).
const entryVersion = 1

const (
	hasKey byte = 1 << iota
	hasPayload
	isTombstone
)

// entryRoom is more than a head has beside its strings, and a bound for what a header has beside its own.
const entryRoom = 96

// maxHeaders bounds what a head that makes no sense can have us allocate. Kafka has no bound of its own.
const maxHeaders = 1 << 16

var errEntry = errors.New("the entry of the spool makes no sense")

// fits reports whether the journal can take m. Nobody else would, either.
func fits(m *linkspan.Message) bool {
	if len(m.Record.Headers) > maxHeaders {
		return false
	}
	n := entryRoom + len(m.Payload) + len(m.Record.Key) + len(m.Record.Topic) + len(m.Topic) + len(m.Endpoint)
	for i := range m.Record.Headers {
		n += entryRoom + len(m.Record.Headers[i].Key) + len(m.Record.Headers[i].Value)
	}
	return n < journal.MaxEntry
}

// appendHead appends the head of m's entry. A record without a timestamp gets that of its sending, as Kafka's producer would give it.
func appendHead(b []byte, m *linkspan.Message) []byte {
	r := &m.Record
	var flags byte
	if r.Key != nil {
		flags |= hasKey
	}
	if m.Payload != nil {
		flags |= hasPayload
	}
	if r.Tombstone {
		flags |= isTombstone
	}
	stamp := r.Timestamp
	if stamp.IsZero() {
		stamp = m.Received
	}
	if stamp.IsZero() {
		stamp = time.Now()
	}
	at, received := stamp.UnixMilli(), int64(math.MinInt64)
	if !m.Received.IsZero() {
		received = m.Received.UnixMilli() - at
	}
	b = append(b, entryVersion, flags)
	b = binary.AppendVarint(b, at)
	b = binary.AppendVarint(b, received)
	b = binary.AppendVarint(b, int64(r.Partition))
	b = appendString(b, r.Topic)
	b = appendString(b, m.Topic)
	b = appendString(b, m.Endpoint)
	b = appendString(b, r.Key)
	b = binary.AppendUvarint(b, uint64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		b = appendString(b, h.Key)
		if h.Value == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(h.Value))+1)
		b = append(b, h.Value...)
	}
	return b
}

func appendString[S string | []byte](b []byte, s S) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Decode fills in m with the message of an entry of the lane of that name; it borrows from the entry.
func Decode(lane string, e journal.Entry, m *linkspan.Message) error {
	return new(decoder).decode(lane, e, m)
}

// A decoder reads entries. It keeps the few names that come again and again, as they are not to be borrowed.
type decoder struct {
	names map[string]string
	last  [8]string // by place in the head: mostly the next one is the same
}

const (
	topicPlace = iota
	endpointPlace
	headerPlace // and what follows
)

// maxNames bounds the names that a decoder keeps.
const maxNames = 4096

func (d *decoder) decode(lane string, e journal.Entry, m *linkspan.Message) error {
	m.Reset()
	r := reader{b: e.Head}
	if version := r.byte(); version != entryVersion {
		return fmt.Errorf("%w: its version is %d, this program knows version %d", errEntry, version, entryVersion)
	}
	flags := r.byte()
	at, received := r.varint(), r.varint()
	m.Record.Timestamp = time.UnixMilli(at)
	if received != math.MinInt64 {
		m.Received = time.UnixMilli(at + received)
	}
	m.Record.Partition = int32(r.varint())
	m.Record.Topic = d.name(topicPlace, r.bytes())
	from := r.bytes()
	m.Topic = unsafe.String(unsafe.SliceData(from), len(from))
	m.Endpoint = d.name(endpointPlace, r.bytes())
	if key := r.bytes(); flags&hasKey != 0 {
		m.Record.Key = key
	}
	for i := range r.count() {
		h := linkspan.Header{Key: d.name(min(headerPlace+i, len(d.last)-1), r.bytes())}
		if n := r.uvarint(); n > 0 {
			h.Value = r.take(n - 1)
		}
		m.Record.Headers = append(m.Record.Headers, h)
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: its head ends in the wrong place", errEntry)
	}
	if flags&hasPayload != 0 {
		if m.Payload = e.Body; m.Payload == nil {
			m.Payload = []byte{}
		}
	}
	m.Record.Tombstone = flags&isTombstone != 0
	m.Route = lane
	return nil
}

// name returns b, which stands in that place, as a string that borrows nothing.
func (d *decoder) name(place int, b []byte) string {
	if last := d.last[place]; last == string(b) {
		return last
	}
	s, ok := d.names[string(b)]
	if !ok {
		if d.names == nil || len(d.names) >= maxNames {
			d.names = make(map[string]string)
		}
		s = string(b)
		d.names[s] = s
	}
	d.last[place] = s
	return s
}

// A reader takes a head apart. After the first thing that is not there it is bad, and all that it returns is nothing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return int64(r.number(uint64(v), n))
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return r.number(v, n)
}

func (r *reader) number(v uint64, n int) uint64 {
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) count() int {
	n := r.uvarint()
	if n > maxHeaders || n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}
