//go:build unix

package amqp_test

import (
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// BenchmarkIdle reports the memory of a connection at rest, with one session and one link.
func BenchmarkIdle(b *testing.B) {
	wiretest.Idle(b, "amqp", "TestIdleClients", func(b *testing.B, conns int) (wait func(), job []string) {
		l := benchmark(b, nil, endless{})
		wait = func() {
			until(b, "all are attached", func() bool { return l.Stats().Senders.Load() == int64(conns) })
		}
		return wait, []string{l.Addr().String()}
	})
}

// TestIdleClients is the other process of BenchmarkIdle.
func TestIdleClients(t *testing.T) {
	wiretest.Devices(t, func(_ int, job []string) {
		dialRaw(t, job[0], frame.Attach{Name: "s", Role: frame.Sender, SenderSettleMode: frame.SendMixed, Source: &frame.Source{},
			Target: &frame.Target{Address: frame.Some("t")}})
	})
}
