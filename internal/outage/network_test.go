package outage

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// A network joins one process after the other to the brokers of one Kafka. Faults of one kind may overlap, so they are counted.
type network struct {
	wire kfake.VirtualNetwork

	mu      sync.Mutex
	random  *rand.Rand
	brokers []way
	changed chan struct{} // closed, and replaced, at each change
	conns   map[*conn]struct{}
}

// A way is what is wrong on the way to one broker.
type way struct {
	refused int // connections end, and none can be made
	black   int // nothing gets through in either direction, nobody is told, and it arrives when this is over
	deaf    int // requests get through, answers do not
	slow    int // slowRate in each direction
}

const (
	firstPort = 9092
	slowRate  = 1 << 10 // bytes a second
)

func newNetwork(random *rand.Rand, brokers int) *network {
	return &network{random: random, brokers: make([]way, brokers), changed: make(chan struct{}), conns: map[*conn]struct{}{}}
}

// change changes what is wrong with one broker, with all if that is -1.
func (n *network) change(broker int, f func(*way)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.brokers {
		if broker < 0 || broker == i {
			f(&n.brokers[i])
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
	for c := range n.conns {
		if n.brokers[c.broker].refused > 0 {
			c.end()
		}
	}
}

// cut ends the connections to one broker, to all if that is -1.
func (n *network) cut(broker int) {
	n.change(broker, func(w *way) { w.refused++ })
	n.change(broker, func(w *way) { w.refused-- })
}

// look returns what is wrong with a broker, and what is closed when that changes.
func (n *network) look(broker int) (way, chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.brokers[broker], n.changed
}

// latency is how long some bytes take: milliseconds as a rule.
func (n *network) latency(w way, bytes int) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := time.Duration(1+n.random.IntN(5)) * time.Millisecond
	if w.slow > 0 {
		d += time.Duration(bytes) * time.Second / slowRate
	}
	return d
}

// A line is one process's connection to the network.
type line struct {
	n   *network
	cut chan struct{} // closed when the process is dead
}

func (n *network) line() *line { return &line{n, make(chan struct{})} }

// sever ends all connections, for ever.
func (l *line) sever() {
	close(l.cut)
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	for c := range l.n.conns {
		if c.line == l {
			c.end()
		}
	}
}

// dial is a net.Dialer's, with its errors: the Kafka client looks at them.
func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := l.connect(ctx, network, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return c, nil
}

func (l *line) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	broker := number - firstPort
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		w, changed := l.n.look(broker)
		if w.refused > 0 {
			return nil, syscall.ECONNREFUSED
		}
		if w.black == 0 {
			break
		}
		select {
		case <-changed:
		case <-l.cut:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, os.ErrDeadlineExceeded
		}
	}
	server, err := l.n.wire.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	c := &conn{line: l, broker: broker, server: server, far: far, ended: make(chan struct{})}
	c.end = sync.OnceFunc(func() {
		close(c.ended)
		far.Close()
		server.Close()
	})
	if !l.n.join(c) {
		c.end()
		return nil, syscall.ECONNREFUSED
	}
	go c.carry(server, far, false)
	go c.carry(far, server, true)
	return near, nil
}

// A conn is one connection, between the near end of which a process has the far one and a broker.
type conn struct {
	line   *line
	broker int
	server net.Conn
	far    net.Conn
	ended  chan struct{}
	end    func()
}

// join adds c, unless it may not be any more.
func (n *network) join(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-c.line.cut:
		return false
	default:
	}
	if n.brokers[c.broker].refused > 0 {
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

// carry copies bytes until one of the ends is gone. A request in several pieces may be cut off between them.
func (c *conn) carry(to, from net.Conn, answers bool) {
	n := c.line.n
	defer func() {
		n.mu.Lock()
		delete(n.conns, c)
		n.mu.Unlock()
		c.end()
	}()
	b := make([]byte, 4<<10)
	for {
		size, err := from.Read(b)
		if err != nil {
			return
		}
		w, _ := n.look(c.broker)
		pass(n.latency(w, size))
		for {
			w, changed := n.look(c.broker)
			if w.black == 0 && (w.deaf == 0 || !answers) {
				break
			}
			select {
			case <-changed:
			case <-c.ended:
				return
			}
		}
		if _, err := to.Write(b[:size]); err != nil {
			return
		}
	}
}
