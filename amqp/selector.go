package amqp

import (
	"regexp"
	"strconv"
	"time"

	"github.com/linkspan/linkspan"
)

// hubSelector is how clients of event hubs say where to begin: amqp.annotation.x-opt-offset > '123'. Quotes may be missing.
var hubSelector = regexp.MustCompile(
	`^\s*(?:amqp\.annotation\.)?x-opt-(offset|sequence-number|enqueued-time|enqueuedtimeutc)\s*(>=?)\s*'?(-?\d+|@latest)'?\s*$`)

// selectorStart reads a selector of event hubs. ok is false for any other: what JMS calls message selectors. Offset and sequence
// number are the same to Kafka.
func selectorStart(selector string) (s linkspan.Start, ok bool) {
	m := hubSelector.FindStringSubmatch(selector)
	if m == nil {
		return s, false
	}
	inclusive := m[2] == ">="
	if m[3] == "@latest" {
		return linkspan.Start{At: linkspan.Latest}, m[1] == "offset" || m[1] == "sequence-number"
	}
	n, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil || n == 1<<63-1 {
		return s, false
	}
	if !inclusive {
		n++
	}
	switch {
	case m[1] == "enqueued-time" || m[1] == "enqueuedtimeutc":
		return linkspan.Start{At: linkspan.AtTime, Time: time.UnixMilli(max(n, 0))}, true
	case n <= 0:
		return linkspan.Start{At: linkspan.Earliest}, true
	}
	return linkspan.Start{At: linkspan.AtOffset, Offset: n}, true
}
