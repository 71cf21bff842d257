package codec

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// Message annotations that mean something to us: those of the Kafka bridge, of event hubs, and of EnMasse for MQTT.
const (
	annotationTopic          = "x-opt-bridge.topic"
	annotationPartition      = "x-opt-bridge.partition"
	annotationOffset         = "x-opt-bridge.offset"
	annotationKey            = "x-opt-bridge.key"
	annotationStreamOffset   = "x-opt-offset"
	annotationSequenceNumber = "x-opt-sequence-number"
	annotationEnqueuedTime   = "x-opt-enqueued-time"
	annotationPartitionKey   = "x-opt-partition-key"
	annotationQoS            = "x-opt-mqtt-qos"
	annotationRetain         = "x-opt-retain-message"
)

// ours reports whether an annotation is one that is written anew for each receiver.
func ours(name string) bool {
	switch name {
	case annotationTopic, annotationPartition, annotationOffset, annotationKey, annotationStreamOffset, annotationSequenceNumber,
		annotationEnqueuedTime, annotationPartitionKey, annotationQoS, annotationRetain:
		return true
	}
	return false
}

// annotations reads what the sender asks for (AKB-A2, ENM-A1). Those that mean nothing to us go along.
func (r *reader) annotations() error {
	if r.msg.MessageAnnotations == nil {
		return nil
	}
	others := false
	for key, value := range r.msg.MessageAnnotations.All() {
		symbol, _ := key.Symbol()
		name := string(symbol)
		if others = others || !ours(name); value.IsNull() {
			continue
		}
		if err := r.annotation(name, value); err != nil {
			return err
		}
	}
	if r.key == nil {
		r.key = r.partitionKey
	}
	if r.m.Record.Key = r.key; others {
		r.sayBytes(headerAnnotations, r.msg.MessageAnnotations)
	}
	return nil
}

// annotation reads one, which is not null. A value that is none for it refuses the delivery (AKB-W7).
func (r *reader) annotation(name string, value frame.Value) error {
	ok, want := true, ""
	switch name {
	case annotationPartition:
		r.m.Record.Partition, want = linkspan.AnyPartition, "the number of a partition"
		var n int64
		if n, ok = integer(value, math.MaxInt32); ok {
			r.m.Record.Partition = int32(n)
		}
	case annotationKey:
		r.key, ok = keyOf(value)
		want = "a string or binary"
	case annotationPartitionKey:
		r.partitionKey, ok = keyOf(value)
		want = "a string or binary"
	case annotationQoS:
		var n int64
		n, ok = integer(value, 2)
		r.m.QoS, r.qos, want = linkspan.QoS(n), true, "0, 1 or 2"
	case annotationRetain:
		r.m.Retain, ok = value.Bool()
		want = "a boolean"
	}
	if ok {
		return nil
	}
	return linkspan.Permanent(&frame.Error{
		Condition: frame.InvalidField, Description: fmt.Sprintf("the message annotation %s is a %v that is not %s", name, value.Type(), want),
	})
}

// integer reads a value of any type of integers from 0 to limit.
func integer(v frame.Value, limit int64) (int64, bool) {
	if n, ok := v.Uint(); ok {
		return int64(n), n <= uint64(limit)
	}
	n, ok := v.Int()
	return n, ok && 0 <= n && n <= limit
}

func keyOf(v frame.Value) ([]byte, bool) {
	if text, ok := v.Text(); ok {
		return lend(text), true
	}
	if symbol, ok := v.Symbol(); ok {
		return lend(string(symbol)), true
	}
	return v.Binary()
}

// annotations writes those that the sender gave, and then ours (AKB-A5).
func (w *writer) annotations(b []byte) []byte {
	from := len(b)
	b = frame.AppendDescriptor(b, frame.CodeMessageAnnotations)
	at, n := len(b), 0
	b = frame.BeginMap(b)
	if given, err := frame.ParseValue(w.said.annotations); err == nil {
		for key, value := range given.Pairs() {
			if symbol, ok := key.Symbol(); ok && !ours(string(symbol)) || key.Type() == frame.Ulong {
				b = value.Append(key.Append(b))
				n++
			}
		}
	}
	b, n = w.ownAnnotations(b, n)
	if n == 0 {
		return b[:from]
	}
	return frame.EndMap(b, at, n)
}

// ownAnnotations writes those about the record and what it was to MQTT, behind n others.
func (w *writer) ownAnnotations(b []byte, n int) ([]byte, int) {
	m, r := w.m, &w.m.Record
	if w.annotate.Position {
		b = frame.AppendString(frame.AppendSymbol(b, annotationTopic), r.Topic)
		b = frame.AppendInt(frame.AppendSymbol(b, annotationPartition), r.Partition)
		b = frame.AppendLong(frame.AppendSymbol(b, annotationOffset), r.Offset)
		b = appendKey(frame.AppendSymbol(b, annotationKey), r.Key)
		b = frame.AppendString(frame.AppendSymbol(b, annotationStreamOffset), w.decimal(r.Offset))
		b = frame.AppendLong(frame.AppendSymbol(b, annotationSequenceNumber), r.Offset)
		b = frame.AppendTimestamp(frame.AppendSymbol(b, annotationEnqueuedTime), r.Timestamp.UnixMilli())
		n += 7
	}
	if r.Key != nil {
		b = appendKey(frame.AppendSymbol(b, annotationPartitionKey), r.Key)
		n++
	}
	if m.Topic != "" || m.QoS > 0 || m.Retain {
		b = frame.AppendInt(frame.AppendSymbol(b, annotationQoS), int32(m.QoS))
		b = frame.AppendBool(frame.AppendSymbol(b, annotationRetain), m.Retain)
		n += 2
	}
	return b, n
}

func appendKey(b, key []byte) []byte {
	switch {
	case key == nil:
		return frame.AppendNull(b)
	case utf8.Valid(key):
		return frame.AppendString(b, key)
	}
	return frame.AppendBinary(b, key)
}
