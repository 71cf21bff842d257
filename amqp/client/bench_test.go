package client_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/client"
)

// BenchmarkSend is one message of 100 bytes on its way down, and the broker's outcome; the broker, a listener of our own, is measured along.
func BenchmarkSend(b *testing.B) {
	cfg := amqp.DefaultListenerConfig()
	cfg.URL = "amqp://127.0.0.1:0"
	l, err := amqp.Listen(cfg, amqp.Parts{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- l.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }))
	}()
	b.Cleanup(func() { cancel(); <-ended })
	r := start(b, "amqp://"+l.Addr().String(), nil)
	m := &linkspan.Message{Topic: "t", Payload: []byte(strings.Repeat("x", 100)), QoS: 1}
	var under sync.WaitGroup
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
		under.Done()
	}
	b.ReportAllocs()
	for b.Loop() {
		for !r.Room(nil) {
			runtime.Gosched()
		}
		under.Add(1)
		r.Send(ctx, m, done)
	}
	under.Wait()
}

// BenchmarkReceive is one message of 100 bytes on its way up; the broker of the tests, which is in no hurry, is measured along.
func BenchmarkReceive(b *testing.B) {
	from := broker(b)
	message := encode(strings.Repeat("x", 100))
	var got sync.WaitGroup
	cfg := client.DefaultConfig()
	cfg.Dial = []string{from.URL()}
	c := client.New(cfg, []string{"q"}, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil); got.Done() }))
	}()
	b.Cleanup(func() { cancel(); <-ended })
	b.ReportAllocs()
	lot := make([]string, 100)
	for i := range lot {
		lot[i] = message
	}
	for i := 0; b.Loop(); i++ {
		if i%len(lot) == 0 {
			got.Wait()
			got.Add(len(lot))
			from.Feed("q", lot...)
		}
	}
	got.Wait()
}
