package kafka

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// virtually runs a test in time that passes only when nothing else is left to do, with a Kafka and a network in memory.
func virtually(t *testing.T, test func(t *testing.T, n *network), opts ...kfake.Opt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := new(network)
		var err error
		n.cluster, err = kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(n.wire.Listen)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		defer pass(time.Second) // for what is on its way to find out that nobody is there
		defer n.cluster.Close()
		test(t, n)
	})
}

// pass lets time pass.
func pass(d time.Duration) { _ = sleep(context.Background(), d) }

// A network joins clients to one Kafka.
type network struct {
	cluster *kfake.Cluster
	wire    kfake.VirtualNetwork
}

// client returns a client of its own, and its link.
func (n *network) client(tb testing.TB, change ...func(*Config)) (*Client, *link) {
	tb.Helper()
	cfg := Default()
	cfg.Brokers = n.cluster.ListenAddrs()
	for _, f := range change {
		f(&cfg)
	}
	l := &link{n: n, whole: make(chan struct{}), broken: make(chan struct{})}
	close(l.whole)
	c, err := newClient(cfg, quiet, kgo.Dialer(l.dial))
	if err != nil {
		tb.Fatal(err)
	}
	return c, l
}

// A link is the way from one client to Kafka. Cut, it lets nothing through in either direction and tells nobody, and
// what was on its way arrives when it is mended. Broken, connections end and none can be made.
type link struct {
	n *network

	mu     sync.Mutex
	whole  chan struct{} // closed while it is not cut
	broken chan struct{} // closed while it is broken
}

func (l *link) change(whole, broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	flip(&l.whole, whole)
	flip(&l.broken, broken)
}

func flip(c *chan struct{}, closed bool) {
	select {
	case <-*c:
		if !closed {
			*c = make(chan struct{})
		}
	default:
		if closed {
			close(*c)
		}
	}
}

func (l *link) state() (whole, broken chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole, l.broken
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	whole, broken := l.state()
	select {
	case <-broken:
		return nil, errors.New("connection refused")
	default:
	}
	select {
	case <-whole:
	case <-broken:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	server, err := l.n.wire.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	ended := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(ended)
		far.Close()
		server.Close()
	})
	go l.carry(far, server, ended, end)
	go l.carry(server, far, ended, end)
	go func() {
		select {
		case <-broken:
			end()
		case <-ended:
		}
	}()
	return near, nil
}

// carry copies bytes until one of the ends is gone, with some milliseconds on the way.
func (l *link) carry(to, from net.Conn, ended chan struct{}, end func()) {
	defer end()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		pass(time.Duration(1+rand.IntN(10)) * time.Millisecond)
		whole, _ := l.state()
		select {
		case <-whole:
		case <-ended:
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
