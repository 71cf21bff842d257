package harness

import (
	"context"
	"net"
	"testing"
	"time"
)

// A broker of a few lines acknowledges, then cuts the connection, then goes on: all is acknowledged in the end, what was
// not is sent again in order, and each message is counted as sent.
func TestPublisher(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ledger Ledger
	go func() {
		for left := 40; ; left = 1 << 30 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn, left, &ledger)
			_ = conn.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := Publisher{Addr: l.Addr().String, Client: "d", Topic: "t", QoS: 2, Count: 100, Window: 10, Ledger: &ledger}
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	r := ledger.Report()
	if r.Err() != nil || r.Sent != 100 || r.Acked != 100 || r.Arrived != 100 || r.Duplicates == 0 || p.Connections() != 2 {
		t.Errorf("%d connections, %v", p.Connections(), r)
	}
}

// serve takes messages; it acknowledges left of them and cuts the connection at the fifth beyond.
func serve(conn net.Conn, left int, ledger *Ledger) {
	w := newWire(conn)
	for {
		p, err := w.Read()
		if err != nil {
			return
		}
		switch p.Type {
		case typeConnect:
			w.append(typeConnack, []byte{0, 0})
		case typePublish:
			device, n, err := ParsePayload(p.Payload)
			if err != nil {
				return
			}
			ledger.Arrived(device, n, 0)
			if left--; left == -5 {
				return
			}
			if left >= 0 {
				w.Ack(typePubrec, p.ID)
			}
		case typePubrel:
			w.Ack(typePubcomp, p.ID)
		case typePingreq:
			w.append(typePingresp, nil)
		}
		if w.Flush() != nil {
			return
		}
	}
}
