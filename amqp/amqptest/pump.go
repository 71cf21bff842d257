package amqptest

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/linkspan/linkspan/amqp/engine"
)

// A pump runs an engine over a connection.
type pump struct {
	nc     net.Conn
	engine *engine.Conn
	wake   chan struct{} // holds one: there is output
	ended  chan struct{} // closed when the connection is over
}

func newPump(nc net.Conn) *pump {
	return &pump{nc: nc, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// stir is the engine's Wake.
func (p *pump) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run returns when the connection is over, and calls over before it says so.
func (p *pump) run(over func()) {
	in := make(chan []byte)
	var reading sync.WaitGroup
	reading.Go(func() { p.read(in) })
	p.drive(in)
	_ = p.nc.Close()
	over()
	close(p.ended)
	reading.Wait()
}

func (p *pump) read(in chan<- []byte) {
	defer close(in)
	for {
		b := make([]byte, 16<<10)
		n, err := p.nc.Read(b)
		if err != nil {
			return
		}
		select {
		case in <- b[:n]:
		case <-p.ended:
			return
		}
	}
}

func (p *pump) drive(in <-chan []byte) {
	tick := time.NewTicker(100 * time.Millisecond) // heartbeats
	defer tick.Stop()
	var buf []byte
	for {
		if out := p.engine.Output(nil); len(out) > 0 {
			_ = p.nc.SetWriteDeadline(time.Now().Add(Patience))
			_, _ = p.nc.Write(out)
			p.engine.Resume()
			continue
		}
		select {
		case b, ok := <-in:
			if !ok {
				p.engine.Lost(io.ErrUnexpectedEOF)
				return
			}
			buf = append(buf, b...)
			n, _, err := p.engine.Input(buf, time.Now())
			buf = buf[n:]
			if err != nil {
				_, _ = p.nc.Write(p.engine.Output(nil))
				return
			}
		case <-p.wake:
			p.engine.Resume()
		case now := <-tick.C:
			_, _ = p.engine.Tick(now, now)
		}
	}
}
