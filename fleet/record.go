package fleet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// A record that is put aside keeps its value and its headers, and an inbox also its key. Behind the headers come ours,
// always all of them and in this order, so that a header of the same name that the record had before is not taken for one:
//
//	inbox:  linkspan.to, linkspan.from
//	parked: linkspan.key, linkspan.until, linkspan.by, linkspan.from
const (
	headerTo    = "linkspan.to"    // the client endpoint that the record is for
	headerFrom  = "linkspan.from"  // where it was: topic/partition/offset/milliseconds since 1970, and /v, /k where value, key were null
	headerKey   = "linkspan.key"   // the record's key; the key of a parked record is its device
	headerUntil = "linkspan.until" // when it goes to the dead letter topic, in milliseconds since 1970
	headerBy    = "linkspan.by"    // who parked it: the process's life, and a number of its own
	// headerReleased marks what ends parking: the records of the key's device up to this offset have gone on.
	headerReleased = "linkspan.released"
)

var errForm = linkspan.Permanent(errors.New("it does not have the form of a record that was put aside"))

// wrapping is space for a record that is put aside, used again and again.
type wrapping struct{ m linkspan.Message }

var wrappings = sync.Pool{New: func() any { return new(wrapping) }}

// begin makes w a copy of m that borrows from it, to be written to a lane of topic.
func (w *wrapping) begin(m *linkspan.Message, topic string, lane int32) {
	w.m.Reset()
	w.m.Payload, w.m.Received = m.Payload, m.Received
	w.m.Record.Topic, w.m.Record.Partition, w.m.Record.Key = topic, lane, m.Record.Key
	w.m.Record.Headers = append(w.m.Record.Headers, m.Record.Headers...)
}

// free gives w back.
func (w *wrapping) free() {
	clear(w.m.Record.Headers)
	w.m.Reset()
	wrappings.Put(w)
}

func (w *wrapping) header(key string, value []byte) {
	w.m.Record.Headers = append(w.m.Record.Headers, linkspan.Header{Key: key, Value: value})
}

// kept returns what b, an extension of w's scratch, has been extended by.
func (w *wrapping) kept(b []byte) []byte {
	at := len(w.m.Scratch)
	w.m.Scratch = b
	return b[at:len(b):len(b)]
}

// from adds where m was.
func (w *wrapping) from(m *linkspan.Message) {
	b := append(append(w.m.Scratch, m.Record.Topic...), '/')
	b = append(strconv.AppendInt(b, int64(m.Record.Partition), 10), '/')
	b = append(strconv.AppendInt(b, m.Record.Offset, 10), '/')
	b = strconv.AppendInt(b, m.Record.Timestamp.UnixMilli(), 10)
	if m.Payload == nil {
		b = append(b, "/v"...)
	}
	if m.Record.Key == nil {
		b = append(b, "/k"...)
	}
	w.header(headerFrom, w.kept(b))
}

// forInbox makes w what an inbox has of m for an endpoint.
func (w *wrapping) forInbox(m *linkspan.Message, topic string, lanes int32, endpoint string) {
	w.begin(m, topic, Lane(endpoint, lanes))
	w.header(headerTo, w.kept(append(w.m.Scratch, endpoint...)))
	w.from(m)
}

// forParking makes w what is parked of m.
func (w *wrapping) forParking(m *linkspan.Message, topic string, lane int32, device string, until time.Time, by stamp) {
	w.begin(m, topic, lane)
	w.m.Record.Key = w.kept(append(w.m.Scratch, device...))
	w.header(headerKey, m.Record.Key)
	w.header(headerUntil, w.kept(strconv.AppendInt(w.m.Scratch, until.UnixMilli(), 10)))
	w.header(headerBy, w.kept(by.append(w.m.Scratch)))
	w.from(m)
}

// A stamp tells the writes of this process, in this life, from others.
type stamp struct{ life, number uint64 }

func (s stamp) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.life), s.number)
}

func parseStamp(b []byte) (s stamp, ok bool) {
	if len(b) != 16 {
		return s, false
	}
	return stamp{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, true
}

// trailer returns the last headers of m if they have these names.
func trailer(m *linkspan.Message, names ...string) ([]linkspan.Header, bool) {
	h := m.Record.Headers
	if len(h) < len(names) {
		return nil, false
	}
	h = h[len(h)-len(names):]
	for i, name := range names {
		if h[i].Key != name {
			return nil, false
		}
	}
	return h, true
}

// unwrapInbox makes m the record again that it was before it was put into an inbox, if it is for that endpoint.
func unwrapInbox(m *linkspan.Message, endpoint string, n *names) (mine bool, err error) {
	t, ok := trailer(m, headerTo, headerFrom)
	if !ok {
		return false, errForm
	}
	if string(t[0].Value) != endpoint {
		return false, nil
	}
	return true, restore(m, t, m.Record.Key, n)
}

// A parked record is what the fold of the log needs to know.
type parked struct {
	until int64 // milliseconds since 1970
	by    stamp
}

var parkedTrailer = []string{headerKey, headerUntil, headerBy, headerFrom}

// parseParked reads what the fold needs to know of m.
func parseParked(m *linkspan.Message) (p parked, err error) {
	t, ok := trailer(m, parkedTrailer...)
	if !ok {
		return p, errForm
	}
	if p.until, _, ok = number(t[1].Value); !ok {
		return p, fmt.Errorf("%w: %s", errForm, headerUntil)
	}
	if p.by, ok = parseStamp(t[2].Value); !ok {
		return p, fmt.Errorf("%w: %s", errForm, headerBy)
	}
	return p, nil
}

// unwrapParked makes m the record again that it was before it was parked.
func unwrapParked(m *linkspan.Message, n *names) error {
	t, ok := trailer(m, parkedTrailer...)
	if !ok {
		return errForm
	}
	return restore(m, t, t[0].Value, n)
}

// restore takes the trailer off m, whose last header says where it was.
func restore(m *linkspan.Message, trailer []linkspan.Header, key []byte, n *names) error {
	topic, rest, _ := bytes.Cut(trailer[len(trailer)-1].Value, []byte{'/'})
	partition, rest, ok1 := number(rest)
	offset, rest, ok2 := number(rest)
	at, flags, ok3 := number(rest)
	if len(topic) == 0 || !ok1 || !ok2 || !ok3 || partition != int64(int32(partition)) {
		return fmt.Errorf("%w: %s", errForm, headerFrom)
	}
	switch string(flags) {
	case "":
	case "v":
		m.Payload = nil
	case "k":
		key = nil
	case "v/k":
		m.Payload, key = nil, nil
	default:
		return fmt.Errorf("%w: %s", errForm, headerFrom)
	}
	m.Record = linkspan.Record{
		Topic: n.own(topic), Partition: int32(partition), Offset: offset, Timestamp: time.UnixMilli(at), Key: key,
		Headers: m.Record.Headers[:len(m.Record.Headers)-len(trailer)],
	}
	return nil
}

// number reads an integer up to a slash or the end, and returns what is behind.
func number(b []byte) (n int64, rest []byte, ok bool) {
	digits, rest, _ := bytes.Cut(b, []byte{'/'})
	sign := int64(1)
	if len(digits) > 0 && digits[0] == '-' {
		sign, digits = -1, digits[1:]
	}
	for _, d := range digits {
		if d < '0' || d > '9' || n > (1<<63-10)/10 {
			return 0, nil, false
		}
		n = n*10 + int64(d-'0')
	}
	return sign * n, rest, len(digits) > 0
}

// names keeps strings of which there are few, and that come again.
type names struct {
	mu  sync.Mutex
	all map[string]string
}

// maxNames is where names starts over.
const maxNames = 10_000

// own returns b as a string that borrows nothing.
func (n *names) own(b []byte) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.all[string(b)]; ok {
		return s
	}
	if n.all == nil || len(n.all) >= maxNames {
		n.all = map[string]string{}
	}
	s := string(b)
	n.all[s] = s
	return s
}
