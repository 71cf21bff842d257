package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

// driver runs an engine over a socket: one goroutine reads, another one writes.
type driver struct {
	c    *Conn
	sock net.Conn
	wake chan struct{}
}

func newDriver(sock net.Conn, mk func(Config, Handler) *Conn, cfg Config, h Handler) *driver {
	d := &driver{sock: sock, wake: make(chan struct{}, 1)}
	cfg.Wake = d.poke
	d.c = mk(cfg, h)
	return d
}

func (d *driver) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// read hands on what comes. The reader is the driver's goroutine of the engine.
func (d *driver) read() {
	buf, have := make([]byte, 4096), 0
	for {
		n, err := d.sock.Read(buf[have:])
		if err != nil {
			d.c.Lost(err)
			d.poke()
			return
		}
		have += n
		used, _, err := d.c.Input(buf[:have], now)
		have = copy(buf, buf[used:have])
		d.poke()
		if err != nil {
			return
		}
	}
}

// write writes what there is whenever it is woken, until the connection is over and nothing is left.
func (d *driver) write() {
	defer d.sock.Close()
	for range d.wake {
		out := d.c.Output(nil)
		if _, err := d.sock.Write(out); err != nil {
			return
		}
		if d.c.Done() && !d.c.Pending() {
			return
		}
	}
}

// busy is a handler whose messages are settled by another goroutine.
type busy struct {
	t      *testing.T
	attach chan *Link
	taken  chan *Delivery
	room   chan struct{}
	closed chan error
}

func newBusy(t *testing.T) *busy {
	return &busy{t, make(chan *Link, 10), make(chan *Delivery, 1000), make(chan struct{}, 1), make(chan error, 1)}
}

func (b *busy) Opened(*Conn) error { return nil }
func (b *busy) Attaching(l *Link) LinkHandler {
	b.attach <- l
	return b
}
func (b *busy) Attached(l *Link)                        { b.attach <- l }
func (b *busy) Transfer(_ *Link, d *Delivery, _ []byte) { b.taken <- d }
func (b *busy) Detached(*Link, bool, *frame.Error)      {}
func (b *busy) Ended(*Session, *frame.Error)            {}
func (b *busy) Closed(err error)                        { b.closed <- err }
func (b *busy) Settled(_ *Link, d *Delivery)            { b.taken <- d }
func (b *busy) Flow(*Link) {
	select {
	case b.room <- struct{}{}:
	default:
	}
}

// Everything but the driver's calls comes from other goroutines here: run with the race detector.
func TestManyGoroutines(t *testing.T) {
	const senders, each = 4, 500
	a, b := net.Pipe()
	up, down := newBusy(t), newBusy(t)
	client, server := newDriver(a, NewClient, Config{ContainerID: "client"}, up), newDriver(b, NewServer, Config{ContainerID: "server"}, down)
	var drivers sync.WaitGroup
	for _, f := range []func(){client.read, client.write, server.read, server.write} {
		drivers.Go(f)
	}
	s, err := client.c.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attach(sender("up"), up); err != nil {
		t.Fatal(err)
	}
	in := <-down.attach
	if err := in.Accept(frame.Attach{}); err != nil { // decided later, by another goroutine
		t.Fatal(err)
	}
	in.Grant(50)
	out := <-up.attach

	var work sync.WaitGroup
	for i := range senders {
		work.Go(func() {
			for n := 0; n < each; {
				_, err := out.Send(Outgoing{Tag: fmt.Appendf(nil, "%d-%d", i, n), Payload: []byte("payload")})
				switch {
				case err == nil:
					n++
					up.Flow(out) // there may be more for others
				case errors.Is(err, ErrNoCredit), errors.Is(err, ErrWindow):
					<-up.room
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	work.Go(func() {
		for range senders * each {
			(<-down.taken).Settle(accepted)
			in.Grant(1)
		}
	})
	work.Go(func() {
		for range senders * each {
			d := <-up.taken
			if d.Remote().Kind != frame.Accepted {
				t.Error(d.Remote().Kind)
			}
			d.Settle(frame.State{})
		}
	})
	work.Wait()
	client.c.Close(nil)
	drivers.Wait()
	for _, h := range []*busy{up, down} {
		if err := <-h.closed; err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}
