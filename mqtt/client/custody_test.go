package client_test

import (
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/custody"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A store is a broker of MQTT 5 that answers by itself, one connection at a time, and keeps its session.
type store struct {
	t    testing.TB
	ln   net.Listener
	mode atomic.Int32
	acks atomic.Int32 // PUBACKs received

	mu     sync.Mutex
	nc     net.Conn
	stored []string
	held   []uint16 // PUBLISHes that are not answered
	fed    []*packet.Publish
}

func newStore(t testing.TB) *store {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, ln: ln}
	var running sync.WaitGroup
	running.Go(s.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		if s.nc != nil {
			_ = s.nc.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *store) serve() {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.talk(nc)
		_ = nc.Close()
	}
}

// talk reads packets until the connection ends.
func (s *store) talk(nc net.Conn) {
	in := make([]byte, 0, 1<<20)
	for {
		raw, n, _, err := packet.Cut(in, 0)
		if err != nil {
			return
		}
		if n == 0 {
			m, err := nc.Read(in[len(in):cap(in)])
			if err != nil {
				return
			}
			in = in[:len(in)+m]
			continue
		}
		if !s.answer(nc, raw) {
			return
		}
		in = in[:copy(in, in[n:])]
	}
}

// answer does what a packet asks for. It returns false to hang up.
func (s *store) answer(nc net.Conn, raw packet.Raw) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []byte
	switch raw.Type() {
	case packet.CONNECT:
		s.nc = nc
		ack := packet.Connack{SessionPresent: len(s.fed) > 0}
		out = ack.Append(out, packet.V5)
		for _, p := range s.fed {
			out = p.Append(out, packet.V5)
			p.Dup = true
		}
	case packet.SUBSCRIBE:
		var p packet.Subscribe
		if p.Decode(packet.V5, raw) != nil {
			return false
		}
		ack := packet.Suback{PacketID: p.PacketID, Reasons: make([]packet.Reason, len(p.Filters))}
		out = ack.Append(out, packet.V5)
	case packet.PUBLISH:
		var p packet.Publish
		if p.Decode(packet.V5, raw) != nil {
			return false
		}
		ack := packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID}
		switch custody.Mode(s.mode.Load()) {
		case custody.Refuse:
			ack.Reason = packet.NotAuthorized
		case custody.Delay:
			s.held = append(s.held, p.PacketID)
			s.stored = append(s.stored, string(p.Payload))
			return true
		default:
			if !p.Dup || !slices.Contains(s.stored, string(p.Payload)) {
				s.stored = append(s.stored, string(p.Payload))
			}
		}
		out = ack.Append(out, packet.V5)
	case packet.PUBACK:
		var a packet.Ack
		if a.Decode(packet.V5, raw) != nil {
			return false
		}
		s.fed = slices.DeleteFunc(s.fed, func(p *packet.Publish) bool { return p.PacketID == a.PacketID })
		s.acks.Add(1)
	case packet.DISCONNECT:
		return false
	}
	_, err := nc.Write(out)
	return err == nil
}

func (s *store) set(m custody.Mode) {
	s.mode.Store(int32(m))
	s.mu.Lock()
	defer s.mu.Unlock()
	if m == custody.Accept {
		for _, id := range s.held {
			_, _ = s.nc.Write(puback(id).Append(nil, packet.V5))
		}
		s.held = nil
	}
}

// feed sends message i, now or with the next connection.
func (s *store) feed(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := publish(1, uint16(i+1), "a", custody.Payload(i))
	if s.fed = append(s.fed, p); s.nc != nil {
		_, _ = s.nc.Write(p.Append(nil, packet.V5))
		p.Dup = true
	}
}

// The way down is a Sink as the contract says (P1 to P3).
func TestSinkCustody(t *testing.T) {
	custody.TestSink(t, func(t *testing.T) *custody.Far {
		s := newStore(t)
		r := start(t, "mqtt://"+s.ln.Addr().String(), version("5"), config(func(c *client.Config) { c.MaxInFlight = 50 }))
		return &custody.Far{
			Sink: r,
			Stored: func() []string {
				s.mu.Lock()
				defer s.mu.Unlock()
				return slices.Clone(s.stored)
			},
			Set:   s.set,
			Modes: []custody.Mode{custody.Delay, custody.Refuse},
		}
	})
}

// The way up is a Source as the contract says (P1 to P4, P8).
func TestSourceCustody(t *testing.T) {
	custody.TestSource(t, func(t *testing.T) *custody.Near {
		s := newStore(t)
		cfg := client.DefaultConfig()
		cfg.Dial, cfg.Version = []string{"mqtt://" + s.ln.Addr().String()}, "5"
		cfg.Reconnect.Min = 1
		return &custody.Near{
			Source:  client.New(cfg, []string{"a"}, nil, slog.New(slog.DiscardHandler)),
			Feed:    s.feed,
			Settled: func() int { return int(s.acks.Load()) },
			Window:  1000,
			Retries: true,
		}
	})
}
