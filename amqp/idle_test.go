package amqp_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// BenchmarkIdle reports the memory of a connection at rest, with one session and a link to send on.
func BenchmarkIdle(b *testing.B) {
	a := wiretest.NewAuthority(b)
	for _, scheme := range []string{"amqp", "amqps", "amqpws"} {
		wiretest.Idle(b, scheme, "TestIdleDevices", func(b *testing.B, conns int) (wait func(), job []string) {
			cfg := amqp.DefaultListenerConfig()
			cfg.IdleTimeout = 0
			if cfg.URL = scheme + "://127.0.0.1:0"; scheme == "amqps" {
				cfg.TLS.Cert, cfg.TLS.Key = a.Issue("listener", "127.0.0.1")
			}
			l, err := amqp.Listen(cfg, amqp.Parts{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ran := make(chan error, 1)
			go func() {
				ran <- l.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }))
			}()
			b.Cleanup(func() {
				cancel()
				<-ran
			})
			wait = func() {
				for l.Stats().Senders.Load() < int64(conns) {
					<-time.After(time.Millisecond)
				}
			}
			return wait, []string{scheme, l.Addr().String(), a.File}
		})
	}
}

// TestIdleDevices is the other process of BenchmarkIdle.
func TestIdleDevices(t *testing.T) {
	wiretest.Devices(t, func(i int, job []string) {
		scheme, addr, file := job[0], job[1], job[2]
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if scheme == "amqps" {
			nc = tls.Client(nc, wiretest.Trust(t, file))
		}
		if strings.HasPrefix(scheme, "amqpws") {
			nc = wiretest.WebSocket(t, nc, "amqp", "/")
		}
		cfg := engine.Config{ContainerID: "idle-" + strconv.Itoa(i), Credentials: &sasl.Credentials{}}
		amqptest.New(t, nc, cfg).Open().Sender("t")
	})
}
