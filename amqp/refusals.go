package amqp

import (
	"iter"
	"sync/atomic"

	"github.com/linkspan/linkspan/amqp/frame"
)

// conditions are those that links are refused with.
var conditions = [...]frame.Symbol{
	errNoGroupID, errNoFreePartitions, errNoPartition, errPartitionFilter, errOffsetFilter, errOffsetAlone, errFilter, errSubscribe,
	frame.NotFound, frame.NotImplemented, frame.UnauthorizedAccess, frame.InvalidField, frame.ResourceLimitExceeded, frame.DetachForced,
}

// Refusals counts refused links by condition.
type Refusals struct {
	known [len(conditions)]atomic.Uint64
	other atomic.Uint64
}

// All ranges over the conditions that there were, with how often; "other" stands for those that are rare.
func (r *Refusals) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i := range r.known {
			if n := r.known[i].Load(); n > 0 && !yield(string(conditions[i]), n) {
				return
			}
		}
		if n := r.other.Load(); n > 0 {
			yield("other", n)
		}
	}
}

func (r *Refusals) add(condition frame.Symbol) {
	for i, c := range conditions {
		if c == condition {
			r.known[i].Add(1)
			return
		}
	}
	r.other.Add(1)
}
