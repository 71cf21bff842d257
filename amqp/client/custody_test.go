package client_test

import (
	"log/slog"
	"testing"

	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/internal/custody"
)

// The way down is a Sink as the contract says (P1 to P3).
func TestSinkCustody(t *testing.T) {
	modes := map[custody.Mode]amqptest.Mode{
		custody.Accept: amqptest.Accept, custody.Delay: amqptest.Hold, custody.Refuse: amqptest.Reject, custody.Fail: amqptest.Release,
	}
	custody.TestSink(t, func(t *testing.T) *custody.Far {
		b := broker(t)
		r := start(t, b.URL(), nil)
		return &custody.Far{
			Sink:   r,
			Stored: func() []string { return bodies(t, b.Stored("custody/device")) },
			Set:    func(m custody.Mode) { b.Set(modes[m]) },
			Modes:  []custody.Mode{custody.Delay, custody.Refuse, custody.Fail},
		}
	})
}

// The way up is a Source as the contract says (P1 to P4, P8).
func TestSourceCustody(t *testing.T) {
	custody.TestSource(t, func(t *testing.T) *custody.Near {
		b := broker(t)
		cfg := client.DefaultConfig()
		cfg.Dial = []string{b.URL()}
		cfg.Reconnect.Min = 1
		return &custody.Near{
			Source:  client.New(cfg, []string{"a"}, nil, slog.New(slog.DiscardHandler)),
			Feed:    func(i int) { b.Feed("a", encode(custody.Payload(i))) },
			Settled: func() int { return len(b.Accepted("a")) + len(b.Rejected("a")) },
			Window:  1000,
			Retries: true,
		}
	})
}
