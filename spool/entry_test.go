package spool

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// anyLane wants entries of all lanes.
func anyLane(journal.Lane) bool { return true }

// What Kafka tells apart comes back as it was: nothing and empty, for keys, values and headers' values.
func TestEntryRoundTrip(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	for name, m := range map[string]linkspan.Message{
		"all of it": {
			Topic: "sensors/7/temperature", Payload: []byte("21.5"), Endpoint: "devices", Received: at.Add(time.Second),
			Record: linkspan.Record{Topic: "sensors", Partition: 3, Timestamp: at, Key: []byte("7"), Headers: []linkspan.Header{
				{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{}}, {Key: "", Value: nil},
			}},
		},
		"nothing":             {Record: linkspan.Record{Partition: linkspan.AnyPartition, Timestamp: at}},
		"empty":               {Payload: []byte{}, Record: linkspan.Record{Timestamp: at, Key: []byte{}}},
		"tombstone":           {Record: linkspan.Record{Timestamp: at, Key: []byte("k"), Tombstone: true}},
		"before 1970":         {Record: linkspan.Record{Timestamp: time.UnixMilli(-5)}, Received: at},
		"a long one":          {Payload: bytes.Repeat([]byte("x"), 1<<20), Topic: strings.Repeat("t/", 30000), Record: linkspan.Record{Timestamp: at}},
		"of another's making": {Payload: []byte("p"), Received: at, Record: linkspan.Record{Topic: "t", Timestamp: time.Unix(0, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			m.Route = "r"
			var got linkspan.Message
			if err := Decode("r", journal.Entry{Head: appendHead(nil, &m), Body: m.Payload}, &got); err != nil {
				t.Fatal(err)
			}
			got.Record.Headers = append([]linkspan.Header(nil), got.Record.Headers...)
			if !reflect.DeepEqual(got, m) {
				t.Errorf("got  %#v\nwant %#v", got, m)
			}
		})
	}
}

// A record without a timestamp is sent when it was received, however long it waits in the spool.
func TestEntryTimestamp(t *testing.T) {
	m := linkspan.Message{Received: time.UnixMilli(12345)}
	var got linkspan.Message
	if err := Decode("", journal.Entry{Head: appendHead(nil, &m)}, &got); err != nil || !got.Record.Timestamp.Equal(m.Received) {
		t.Errorf("%v, %v", got.Record.Timestamp, err)
	}
}

func TestEntryIsDecodedWithoutAllocations(t *testing.T) {
	m := linkspan.Message{Topic: "from/device", Payload: []byte("payload"), Endpoint: "devices", Record: linkspan.Record{
		Topic: "to", Key: []byte("k"), Headers: []linkspan.Header{{Key: "h", Value: []byte("v")}}, Timestamp: time.Now(),
	}}
	e := journal.Entry{Head: appendHead(nil, &m), Body: m.Payload}
	var d decoder
	var got linkspan.Message
	if n := testing.AllocsPerRun(100, func() {
		if err := d.decode("r", e, &got); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// No head, however wrong, does more than return an error; one that is right reads as it was written.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{}, []byte(nil))
	f.Add([]byte{2}, []byte("x"))
	f.Add([]byte{1, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte("x"))
	m := linkspan.Message{Topic: "from", Endpoint: "e", Record: linkspan.Record{Topic: "to", Key: []byte("k"), Headers: []linkspan.Header{{Key: "h"}, {Key: "i", Value: []byte("v")}}}}
	f.Add(appendHead(nil, &m), []byte("x"))
	f.Fuzz(func(t *testing.T, head, body []byte) {
		var m, again linkspan.Message
		if err := Decode("r", journal.Entry{Head: head, Body: body}, &m); err != nil {
			return
		}
		if err := Decode("r", journal.Entry{Head: appendHead(nil, &m), Body: m.Payload}, &again); err != nil {
			t.Fatal(err)
		}
		if m.Record.Headers == nil {
			again.Record.Headers = nil
		}
		if !reflect.DeepEqual(m, again) {
			t.Errorf("got  %#v\nwant %#v", again, m)
		}
	})
}
