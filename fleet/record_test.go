package fleet

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// sameRecord compares all that is promised to come back.
func sameRecord(t *testing.T, got, want *linkspan.Message) {
	t.Helper()
	g, w := got.Record, want.Record
	if g.Topic != w.Topic || g.Partition != w.Partition || g.Offset != w.Offset || g.Timestamp.UnixMilli() != w.Timestamp.UnixMilli() {
		t.Errorf("came back from %s/%d@%d %v, was %s/%d@%d %v", g.Topic, g.Partition, g.Offset, g.Timestamp, w.Topic, w.Partition, w.Offset, w.Timestamp)
	}
	same := func(what string, g, w []byte) {
		if !bytes.Equal(g, w) || (g == nil) != (w == nil) {
			t.Errorf("%s came back as %q (nil: %v), was %q (nil: %v)", what, g, g == nil, w, w == nil)
		}
	}
	same("key", g.Key, w.Key)
	same("value", got.Payload, want.Payload)
	if len(g.Headers) != len(w.Headers) {
		t.Fatalf("%d headers came back of %d", len(g.Headers), len(w.Headers))
	}
	for i := range w.Headers {
		if g.Headers[i].Key != w.Headers[i].Key {
			t.Errorf("header %q came back as %q", w.Headers[i].Key, g.Headers[i].Key)
		}
		same("header", g.Headers[i].Value, w.Headers[i].Value)
	}
}

// roundTrip puts a record aside in both ways, as Kafka would give it back: what the producer makes of a nil value is not known.
func roundTrip(t *testing.T, m *linkspan.Message, endpoint, device string) {
	t.Helper()
	var n names
	w := wrappings.Get().(*wrapping)
	defer w.free()

	w.forInbox(m, "inbox", 8, endpoint)
	c := w.m.Clone()
	if c.Record.Partition != Lane(endpoint, 8) || c.Record.Topic != "inbox" || string(c.Record.Header(headerTo)) != endpoint {
		t.Errorf("for %q: %s/%d", endpoint, c.Record.Topic, c.Record.Partition)
	}
	if m.Payload == nil {
		c.Payload = []byte{}
	}
	if mine, err := unwrapInbox(c, endpoint, &n); err != nil || !mine {
		t.Fatalf("inbox: %v %v", mine, err)
	}
	sameRecord(t, c, m)

	until, by := time.UnixMilli(1700000000123), stamp{1 << 63, 7}
	w.forParking(m, "parked", 5, device, until, by)
	c = w.m.Clone()
	if string(c.Record.Key) != device || c.Record.Partition != 5 {
		t.Errorf("parked as %q in %d", c.Record.Key, c.Record.Partition)
	}
	if p, err := parseParked(c); err != nil || p.until != until.UnixMilli() || p.by != by {
		t.Errorf("parked: %+v %v", p, err)
	}
	if m.Payload == nil {
		c.Payload = []byte{}
	}
	if err := unwrapParked(c, &n); err != nil {
		t.Fatal(err)
	}
	if len(m.Record.Key) == 0 && m.Record.Key != nil && c.Record.Key == nil {
		c.Record.Key = []byte{} // a header's empty value may come back as none
	}
	sameRecord(t, c, m)
}

func TestRecordsComeBack(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	for _, m := range []linkspan.Message{
		{Payload: []byte("on"), Record: linkspan.Record{Topic: "commands", Partition: 3, Offset: 1 << 40, Timestamp: at, Key: []byte("pump")}},
		{Payload: nil, Record: linkspan.Record{Topic: "c", Timestamp: at, Key: nil}},
		{Payload: []byte{}, Record: linkspan.Record{Topic: "c", Timestamp: at, Key: []byte{}}},
		{Payload: nil, Record: linkspan.Record{Topic: "c", Timestamp: time.UnixMilli(-1), Key: []byte("k")}},
		{Payload: []byte("x"), Record: linkspan.Record{Topic: "c", Headers: []linkspan.Header{ // put aside before, by another fleet
			{Key: headerTo, Value: []byte("plant-b")}, {Key: headerFrom, Value: []byte("a/1/2/3")}, {Key: "empty", Value: []byte{}}, {Key: "none"},
			{Key: headerKey}, {Key: headerUntil}, {Key: headerBy}, {Key: headerReleased, Value: []byte("1")}, {Key: headerBarrier},
		}}},
	} {
		roundTrip(t, &m, "plant-a", "pump")
	}
}

func FuzzRecordsComeBack(f *testing.F) {
	f.Add([]byte("value"), []byte("key"), []byte("h"), int32(3), int64(4), int64(1700000000000), "plant-a", "pump", byte(0))
	f.Add([]byte{}, []byte{}, []byte{}, int32(0), int64(0), int64(0), "e", "/\x1f", byte(15))
	f.Fuzz(func(t *testing.T, value, key, header []byte, partition int32, offset, at int64, endpoint, device string, flags byte) {
		if at > 1<<50 || at < -1<<50 {
			return // not a time
		}
		m := linkspan.Message{Payload: value, Record: linkspan.Record{Topic: "commands", Partition: partition, Offset: offset, Key: key, Timestamp: time.UnixMilli(at)}}
		if flags&1 != 0 {
			m.Payload = nil
		}
		if flags&2 != 0 {
			m.Record.Key = nil
		}
		for i, name := range []string{headerTo, headerFrom, headerReleased, headerBarrier, "other"} {
			if flags>>2&(1<<i) != 0 {
				m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: name, Value: header})
			}
		}
		if offset == -1<<63 {
			return // no offset, and it has no positive
		}
		roundTrip(t, &m, endpoint, device)
	})
}

// Whatever is in our topics, it is refused or taken, and nothing else.
func FuzzForeignRecords(f *testing.F) {
	f.Add("plant-a", "commands/3/4/5", "1", "0123456789abcdef", "key")
	f.Add("", "commands/3/4/5/v/k", "x", "", "")
	f.Add("plant-a", "/-1/99999999999999999999/5/z", "-", "", "k")
	f.Fuzz(func(t *testing.T, to, from, until, by, key string) {
		var n names
		m := linkspan.Message{Payload: []byte("x"), Record: linkspan.Record{Key: []byte(key), Headers: []linkspan.Header{
			{Key: headerKey, Value: []byte(key)}, {Key: headerUntil, Value: []byte(until)}, {Key: headerBy, Value: []byte(by)}, {Key: headerFrom, Value: []byte(from)},
		}}}
		_, _ = parseParked(&m)
		if err := unwrapParked(m.Clone(), &n); err != nil && !linkspan.IsPermanent(err) {
			t.Errorf("%v can be tried again", err)
		}
		inbox := linkspan.Message{Payload: []byte("x"), Record: linkspan.Record{Headers: []linkspan.Header{
			{Key: headerTo, Value: []byte(to)}, {Key: headerFrom, Value: []byte(from)},
		}}}
		if mine, err := unwrapInbox(&inbox, "plant-a", &n); err != nil && !linkspan.IsPermanent(err) || mine && inbox.Record.Topic == "" && err == nil {
			t.Errorf("%v %v", mine, err)
		}
		cfg := DefaultConfig()
		p := NewParking(cfg, NewLocations(cfg, nowhere{}, nil), Parts{To: nowhere{}})
		p.Apply(&m)
		if got := p.stats.Records.Load() + int64(p.stats.Malformed.Load()); got != 1 {
			t.Errorf("neither parked nor malformed: %d", got)
		}
	})
}

func TestInbox(t *testing.T) {
	var next shelf
	in := NewInbox("plant-a", &next)
	send := func(m *linkspan.Message) *outcome {
		o := new(outcome)
		in.Send(t.Context(), m, o.done)
		return o
	}
	wrapped := func(endpoint string) *linkspan.Message {
		var w wrapping
		w.forInbox(command("commands", "pump", 5), "inbox", 8, endpoint)
		return w.m.Clone()
	}
	if o := send(wrapped("plant-b")); o.calls != 1 || o.err != nil || len(next.peek()) != 0 {
		t.Error("what is for another endpoint must be done, and nothing else")
	}
	if o := send(command("commands", "pump", 5)); o.calls != 1 || !linkspan.IsPermanent(o.err) || !errors.Is(o.err, errForm) {
		t.Errorf("a foreign record: %v", o.err)
	}
	o := send(wrapped("plant-a"))
	sent := next.take()
	if len(sent) != 1 || o.calls != 0 {
		t.Fatal("not handed on, or settled before the endpoint had it") // P4
	}
	sameRecord(t, sent[0].m, command("commands", "pump", 5))
	sent[0].done(errAway)
	if o.err != errAway {
		t.Error(o.err)
	}
	if s := in.Stats(); s.Records.Load() != 1 || s.Others.Load() != 1 || s.Malformed.Load() != 1 {
		t.Error("counted wrong")
	}
	next.shutter(true)
	if in.Room(nil) {
		t.Error("room before a full sink")
	}
}

func TestNamesAreBounded(t *testing.T) {
	var n names
	for i := range maxNames + 1 {
		n.own([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if len(n.all) > maxNames {
		t.Errorf("%d names", len(n.all))
	}
}

func BenchmarkInbox(b *testing.B) {
	in := NewInbox("plant-a", nowhere{})
	var w wrapping
	w.forInbox(command("commands", "pump", 5), "inbox", 8, "plant-a")
	var m linkspan.Message
	done := func(error) {}
	b.ReportAllocs()
	for b.Loop() {
		m.Payload, m.Record = w.m.Payload, w.m.Record
		in.Send(context.Background(), &m, done)
	}
}
