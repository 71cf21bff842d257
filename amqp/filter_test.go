package amqp

import (
	"bytes"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A pair of a filter set; value adds what it is to b.
type pair struct {
	key   string
	value func(b []byte) []byte
}

func filterSet(pairs ...pair) frame.Map {
	b := frame.BeginMap(nil)
	for _, p := range pairs {
		b = p.value(frame.AppendSymbol(b, p.key))
	}
	return frame.EndMap(b, 0, len(pairs))
}

func asInt(n int32) func([]byte) []byte {
	return func(b []byte) []byte { return frame.AppendInt(b, n) }
}

func asUint(n uint32) func([]byte) []byte {
	return func(b []byte) []byte { return frame.AppendUint(b, n) }
}

func asLong(n int64) func([]byte) []byte {
	return func(b []byte) []byte { return frame.AppendLong(b, n) }
}

func asUlong(n uint64) func([]byte) []byte {
	return func(b []byte) []byte { return frame.AppendUlong(b, n) }
}

func asText(s string) func([]byte) []byte {
	return func(b []byte) []byte { return frame.AppendString(b, s) }
}

func described(code frame.Descriptor, value func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte { return value(frame.AppendDescriptor(b, code)) }
}

// AKB-A6: partition and offset in every spelling, with the seed's prefixes of both times, and the selectors of event hubs.
func TestFilters(t *testing.T) {
	offset := linkspan.Start{At: linkspan.AtOffset, Offset: 7}
	hub := asText("amqp.annotation.x-opt-offset > '6'")
	for name, c := range map[string]struct {
		address   string
		set       frame.Map
		partition int32
		from      linkspan.Start
	}{
		"none": {"t/group.id/g", nil, -1, linkspan.Start{}},
		"int":  {"t/group.id/g", filterSet(pair{"io.strimzi:partition-filter:int", asInt(2)}), 2, linkspan.Start{}},
		"uint": {"t/group.id/g", filterSet(pair{"io.strimzi:partition-filter:uint", asUint(2)}), 2, linkspan.Start{}},
		"int and long": {"t/group.id/g", filterSet(pair{"io.strimzi:partition-filter:int", asInt(2)},
			pair{"io.strimzi:offset-filter:long", asLong(7)}), 2, offset},
		"uint and ulong": {"t/group.id/g", filterSet(pair{"io.strimzi:offset-filter:ulong", asUlong(7)},
			pair{"io.strimzi:partition-filter:uint", asUint(2)}), 2, offset},
		"enmasse": {"t/group.id/g", filterSet(pair{"enmasse:partition-filter:int", asInt(2)},
			pair{"enmasse:offset-filter:ulong", asUlong(7)}), 2, offset},
		"described": {"t/group.id/g", filterSet(pair{"io.strimzi:partition-filter:int", described(1, asInt(2))}), 2, linkspan.Start{}},
		"hub":       {"t/ConsumerGroups/g/Partitions/2", filterSet(pair{selectorFilter, described(selectorCode, hub)}), 2, offset},
		"hub plain": {"t/ConsumerGroups/g/Partitions/2", filterSet(pair{selectorFilter, hub}), 2, offset},
		"hub with a filter": {"t/group.id/g", filterSet(pair{"x", described(selectorCode, hub)},
			pair{"io.strimzi:partition-filter:int", asInt(2)}), 2, offset},
		"the same partition": {"t/ConsumerGroups/g/Partitions/2", filterSet(pair{"enmasse:partition-filter:int", asInt(2)}), 2, linkspan.Start{}},
		"null":               {"t/group.id/g", filterSet(pair{"io.strimzi:partition-filter:int", frame.AppendNull}), -1, linkspan.Start{}},
	} {
		p, err := sourcePlace(c.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		from, applied, err := p.filter(c.set)
		if err != nil || p.partition != c.partition || from != c.from {
			t.Errorf("%s: partition %d from %+v, %v", name, p.partition, from, err)
		}
		if name != "null" && !bytes.Equal(applied, c.set) {
			t.Errorf("%s: %x is in place, want %x", name, applied, c.set)
		}
	}
}

// What is not known is not said to be in place [AMQP 3.5.3].
func TestUnknownFilters(t *testing.T) {
	p := place{topic: "t", group: "g", partition: -1}
	partition := pair{"io.strimzi:partition-filter:int", asInt(0)}
	_, applied, err := p.filter(filterSet(pair{"apache.org:no-local-filter:list", asText("")}, partition, pair{"io.strimzi:more:int", asInt(1)}))
	if want := filterSet(partition); err != nil || !bytes.Equal(applied, want) {
		t.Errorf("%x, %v, want %x", applied, err, want)
	}
}

// AKB-A7: each wrong filter has its condition.
func TestFilterRefusals(t *testing.T) {
	partition := pair{"io.strimzi:partition-filter:int", asInt(0)}
	for name, c := range map[string]struct {
		set  frame.Map
		want frame.Symbol
	}{
		"partition of no integer": {filterSet(pair{"io.strimzi:partition-filter:int", asText("0")}), errPartitionFilter},
		"offset of no integer":    {filterSet(partition, pair{"io.strimzi:offset-filter:long", asText("0")}), errOffsetFilter},
		"offset alone":            {filterSet(pair{"io.strimzi:offset-filter:long", asLong(0)}), errOffsetAlone},
		"selector alone":          {filterSet(pair{selectorFilter, asText("amqp.annotation.x-opt-offset > '1'")}), errOffsetAlone},
		"negative partition":      {filterSet(pair{"io.strimzi:partition-filter:int", asInt(-1)}), errFilter},
		"partition beyond int":    {filterSet(pair{"io.strimzi:partition-filter:uint", asUint(1 << 31)}), errFilter},
		"negative offset":         {filterSet(partition, pair{"enmasse:offset-filter:long", asLong(-1)}), errFilter},
		"selector of JMS":         {filterSet(pair{jmsSelector, described(selectorCode, asText("colour = 'red'"))}), frame.NotImplemented},
	} {
		p := place{topic: "t", group: "g", partition: -1}
		if _, _, err := p.filter(c.set); err == nil || err.Condition != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	hub := place{topic: "t", group: "g", partition: 1}
	if _, _, err := hub.filter(filterSet(partition)); err == nil || err.Condition != errPartitionFilter {
		t.Errorf("another partition than the address: %v", err)
	}
	live := place{live: "a/+", partition: -1}
	if _, _, err := live.filter(filterSet(partition)); err == nil || err.Condition != errNoGroupID {
		t.Errorf("a partition of live messages: %v", err)
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte(filterSet(pair{"io.strimzi:partition-filter:int", asInt(2)}, pair{"enmasse:offset-filter:ulong", asUlong(7)})))
	f.Add([]byte(filterSet(pair{selectorFilter, described(selectorCode, asText("amqp.annotation.x-opt-offset > '6'"))})))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := frame.ParseValue(b)
		if err != nil || v.Type() != frame.MapType {
			return
		}
		p := place{topic: "t", group: "g", partition: -1}
		from, applied, refused := p.filter(frame.Map(b))
		if refused != nil {
			return
		}
		if from != (linkspan.Start{}) && p.partition < 0 {
			t.Errorf("%x: from %+v of no partition", b, from)
		}
		again := place{topic: "t", group: "g", partition: -1}
		if f, _, err := again.filter(applied); err != nil || f != from || again != p {
			t.Errorf("%x: what is in place means %+v from %+v, %v", b, again, f, err)
		}
	})
}
