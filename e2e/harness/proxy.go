package harness

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Proxy is a network between the dialers and one server, with all that a network can do wrong. What it does is set by
// calls while connections are open, and holds for these too.
type Proxy struct {
	target string
	addr   string

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change of what follows
	hold     bool
	delay    time.Duration
	rate     int // bytes a second and direction; 0: no limit
	listener net.Listener
	links    map[*link]struct{}
	closed   bool

	running sync.WaitGroup
	total   atomic.Int64
}

// link is one connection through the proxy.
type link struct{ dialer, server *net.TCPConn }

// NewProxy listens on a free loopback port and forwards each connection to target. It must be closed.
func NewProxy(target string) (*Proxy, error) {
	p := &Proxy{target: target, changed: make(chan struct{}), links: map[*link]struct{}{}}
	for attempt := 0; ; attempt++ {
		ports, err := Ports(1)
		if err != nil {
			return nil, err
		}
		p.addr = Loopback(ports[0])
		if err = p.listen(); err == nil || attempt == 4 {
			return p, err
		}
	}
}

// Addr is what to dial.
func (p *Proxy) Addr() string { return p.addr }

// Open returns how many connections dialers have open through the proxy.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Total returns how many connections there have been.
func (p *Proxy) Total() int64 { return p.total.Load() }

// Cut resets every connection. New ones go on.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Refuse lets nobody connect any more: the kernel answers with a reset. Open connections are reset as well.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Cut()
}

// Accept lets dialers connect, again after Refuse. Until it runs its own program, a child that starts still has the listener
// that Refuse has closed: the port is free a moment later.
func (p *Proxy) Accept() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return Until(ctx, p.listen)
}

func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.listener = listener
	p.running.Go(func() { p.accept(listener) })
	return nil
}

// BlackHole swallows: connections are accepted and stay open, and nothing gets through, neither bytes nor a close. After
// Heal all of it arrives, as a network's repetitions see to it.
func (p *Proxy) BlackHole() { p.change(func() { p.hold = true }) }

// Heal ends BlackHole, Delay and Throttle.
func (p *Proxy) Heal() { p.change(func() { p.hold, p.delay, p.rate = false, 0, 0 }) }

// Delay lets what comes wait that long, each way.
func (p *Proxy) Delay(d time.Duration) { p.change(func() { p.delay = d }) }

// Throttle forwards so many bytes a second of each connection, each way.
func (p *Proxy) Throttle(rate int) { p.change(func() { p.rate = rate }) }

// Close ends all connections and the proxy. It may be called twice.
func (p *Proxy) Close() {
	p.change(func() { p.closed = true })
	p.Refuse()
	p.running.Wait()
}

func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		p.total.Add(1)
		l := &link{dialer: conn.(*net.TCPConn)}
		p.mu.Lock()
		if p.listener != listener {
			l.reset()
		}
		p.links[l] = struct{}{}
		p.mu.Unlock()
		p.running.Go(func() {
			p.connect(l)
			p.mu.Lock()
			delete(p.links, l)
			p.mu.Unlock()
		})
	}
}

// connect runs one connection to its end.
func (p *Proxy) connect(l *link) {
	defer l.reset()
	if !p.pass(0) {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.mu.Lock()
	l.server = server.(*net.TCPConn)
	gone := p.closed || p.listener == nil
	p.mu.Unlock()
	if gone {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.forward(l.server, l.dialer) })
	both.Go(func() { p.forward(l.dialer, l.server) })
	both.Wait()
}

// forward copies one direction until its end, which it hands on: an orderly end as such, a broken one as a reset of both
// sides.
func (p *Proxy) forward(to, from *net.TCPConn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		for rest := b[:n]; ; {
			piece := rest[:min(len(rest), p.piece())]
			if !p.pass(len(piece)) {
				return
			}
			if _, failed := to.Write(piece); failed != nil {
				err = failed
			}
			if rest = rest[len(piece):]; len(rest) == 0 {
				break
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite() // it may be gone
			return
		default:
			_ = to.SetLinger(0)
			_ = from.SetLinger(0)
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

// piece returns how many bytes go on at a time: of a throttled connection what a tenth of a second lets through.
func (p *Proxy) piece() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return math.MaxInt
	}
	return max(p.rate/10, 1)
}

// pass waits until n bytes may go on: false when the proxy is closed.
func (p *Proxy) pass(n int) bool {
	p.mu.Lock()
	wait := p.delay
	if p.rate > 0 {
		wait += time.Duration(n) * time.Second / time.Duration(p.rate)
	}
	p.mu.Unlock()
	due := time.NewTimer(wait)
	defer due.Stop()
	late := due.C
	for {
		p.mu.Lock()
		hold, closed, changed := p.hold, p.closed, p.changed
		p.mu.Unlock()
		switch {
		case closed:
			return false
		case !hold && late == nil:
			return true
		}
		select {
		case <-late:
			late = nil
		case <-changed:
		}
	}
}

// reset closes both sides at once, without an orderly end. Whoever calls it while the proxy runs holds its lock.
func (l *link) reset() {
	for _, c := range []*net.TCPConn{l.dialer, l.server} {
		if c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}
