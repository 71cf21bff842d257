package amqp

import (
	"math"
	"strings"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// What a filter set may have in it, by key (AKB-A6).
const (
	partitionFilter = "partition-filter" // io.strimzi:partition-filter:int and its like
	offsetFilter    = "offset-filter"
	selectorFilter  = "apache.org:selector-filter:string"
	selectorCode    = 0x0000468C00000004 // the same as a number, which clients of JMS use
	jmsSelector     = "jms-selector"
)

// filter applies the filter set of a receiver's source to the place that its address names, and returns where to begin and the
// filters that are in place. Filters that are not known here are left out of these, and are the client's to miss [AMQP 3.5.3].
func (p *place) filter(set frame.Map) (from linkspan.Start, _ frame.Map, _ *frame.Error) {
	var partition, offset int64
	var hasPartition, hasOffset, hasStart bool
	applied, n := frame.BeginMap(nil), 0
	for key, value := range set.All() {
		name, _ := key.Symbol()
		descriptor, inner, described := value.Described()
		if !described {
			inner = value
		}
		if inner.IsNull() {
			continue
		}
		switch filterKind(string(name), descriptor) {
		case selectorFilter:
			text, _ := inner.Text()
			if from, hasStart = selectorStart(text); !hasStart {
				return from, nil, refuse(frame.NotImplemented, "Message selectors are not supported: a receiver gets all that its address names")
			}
		case partitionFilter:
			if partition, hasPartition = integer(inner); !hasPartition {
				return from, nil, refuse(errPartitionFilter, "Wrong partition filter: it is no integer")
			}
		case offsetFilter:
			if offset, hasOffset = integer(inner); !hasOffset {
				return from, nil, refuse(errOffsetFilter, "Wrong offset filter: it is no integer")
			}
			from, hasStart = linkspan.Start{At: linkspan.AtOffset, Offset: offset}, true
		default:
			continue
		}
		applied = value.Append(key.Append(applied))
		n++
	}
	if applied = frame.EndMap(applied, 0, n); n == 0 {
		applied = nil
	}
	named := p.partition != linkspan.AnyPartition
	switch {
	case p.live != "" && (hasPartition || hasStart):
		return from, nil, refuse(errNoGroupID, "Filters are for records of Kafka: write TOPIC/group.id/GROUP")
	case hasStart && !hasPartition && !named:
		return from, nil, refuse(errOffsetAlone, "No partition filter specified: where to begin is said of one partition")
	case hasPartition && (partition < 0 || partition > math.MaxInt32), offset < 0:
		return from, nil, refuse(errFilter, "Wrong filter: there is no such partition or offset")
	case hasPartition && named && int64(p.partition) != partition:
		return from, nil, refuse(errPartitionFilter, "Wrong partition filter: the address names another partition")
	case hasPartition:
		p.partition = int32(partition)
	}
	return from, applied, nil
}

// filterKind returns which of the known filters this is, "" for none.
func filterKind(key string, descriptor frame.Value) string {
	code, _ := descriptor.Uint()
	symbol, _ := descriptor.Symbol()
	if key == selectorFilter || key == jmsSelector || code == selectorCode || symbol == selectorFilter {
		return selectorFilter
	}
	name, ours := strings.CutPrefix(key, "io.strimzi:")
	if !ours {
		name, ours = strings.CutPrefix(key, "enmasse:")
	}
	name, _, _ = strings.Cut(name, ":") // the type is seen in the value
	if ours && (name == partitionFilter || name == offsetFilter) {
		return name
	}
	return ""
}

// integer returns a whole number of any type.
func integer(v frame.Value) (int64, bool) {
	if n, ok := v.Int(); ok {
		return n, true
	}
	n, ok := v.Uint()
	return int64(min(n, math.MaxInt64)), ok
}
