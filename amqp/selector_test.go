package amqp

import (
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// AKB-A6, in the form of event hubs.
func TestSelectorStart(t *testing.T) {
	for selector, want := range map[string]linkspan.Start{
		"amqp.annotation.x-opt-offset > '123'":          {At: linkspan.AtOffset, Offset: 124},
		"amqp.annotation.x-opt-offset >= '123'":         {At: linkspan.AtOffset, Offset: 123},
		"amqp.annotation.x-opt-offset >'123'":           {At: linkspan.AtOffset, Offset: 124},
		"amqp.annotation.x-opt-offset>123":              {At: linkspan.AtOffset, Offset: 124},
		" amqp.annotation.x-opt-offset  >=  0 ":         {At: linkspan.Earliest},
		"amqp.annotation.x-opt-offset > '-1'":           {At: linkspan.Earliest},
		"amqp.annotation.x-opt-offset > '@latest'":      {At: linkspan.Latest},
		"amqp.annotation.x-opt-sequence-number > '7'":   {At: linkspan.AtOffset, Offset: 8},
		"amqp.annotation.x-opt-sequence-number >= '7'":  {At: linkspan.AtOffset, Offset: 7},
		"amqp.annotation.x-opt-enqueued-time > '1500'":  {At: linkspan.AtTime, Time: time.UnixMilli(1501)},
		"amqp.annotation.x-opt-enqueued-time >= '1500'": {At: linkspan.AtTime, Time: time.UnixMilli(1500)},
		"amqp.annotation.x-opt-enqueuedtimeutc > 1500":  {At: linkspan.AtTime, Time: time.UnixMilli(1501)},
		"amqp.annotation.x-opt-enqueued-time > '-5'":    {At: linkspan.AtTime, Time: time.UnixMilli(0)},
	} {
		if got, ok := selectorStart(selector); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", selector, got, ok, want)
		}
	}
	for _, selector := range []string{
		"", "colour = 'red'", "JMSPriority > 3", "amqp.annotation.x-opt-offset < '3'", "amqp.annotation.x-opt-offset > 'x'",
		"amqp.annotation.x-opt-offset > '1' AND colour = 'red'", "amqp.annotation.x-opt-enqueued-time > '@latest'",
		"amqp.annotation.x-opt-offset > '9223372036854775807'", "amqp.annotation.x-opt-offset > '99999999999999999999'",
	} {
		if got, ok := selectorStart(selector); ok {
			t.Errorf("%s: %+v, want no start", selector, got)
		}
	}
}
