package client

import (
	"bytes"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// P6: a broker that asks for answers and does not take them is not read any more. Not one answer is missing when it does. The
// line is a pipe without a buffer: what a system's buffers take before a writer waits differs, and one whose both buffers are full may
// lose the acknowledgements that would end it.
func TestAnswersAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AckTimeout = time.Hour
	client := New(cfg, nil, nil, slog.New(slog.DiscardHandler))
	ours, broker := net.Pipe()
	c := newConn(client.workers[0], ours, dial.Target{}, packet.V311)
	c.start()
	defer c.finish()

	var flood []byte
	for range 10_000 {
		flood = (&packet.Ack{Type: packet.PUBREL, PacketID: 1}).Append(flood, packet.V311)
	}
	var enough atomic.Bool
	var sent int // PUBREL, the last one with another identifier
	over := make(chan error, 1)
	go func() {
		for !enough.Load() {
			if _, err := broker.Write(flood); err != nil {
				over <- err
				return
			}
			sent += 10_000
		}
		sent++
		_, err := broker.Write((&packet.Ack{Type: packet.PUBREL, PacketID: 2}).Append(nil, packet.V311))
		over <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for client.stats.Stalled.Load() == 0 {
		select {
		case err := <-over:
			t.Fatalf("the flood has ended: %v", err)
		case <-tick.C:
		}
		if in := client.stats.BytesIn.Load(); in > 2*maxAnswers {
			t.Fatalf("it reads on and on: %d bytes", in)
		}
	}
	enough.Store(true)
	last := (&packet.Ack{Type: packet.PUBCOMP, PacketID: 2}).Append(nil, packet.V311)
	answers := 0
	for buf, tail := make([]byte, 1<<20), []byte(nil); !bytes.Equal(tail, last); {
		n, err := broker.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		tail = append(tail, buf[:n]...)
		tail = tail[max(0, len(tail)-len(last)):]
		answers += n
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	if answers != sent*len(last) {
		t.Errorf("%d bytes of answers to %d", answers, sent)
	}
	_ = broker.Close()
}
