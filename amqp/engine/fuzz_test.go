package engine

import (
	"testing"

	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// FuzzServer lets a peer say anything after its header. Nothing it says makes the server panic, or hold more than it may.
func FuzzServer(f *testing.F) {
	open := appendFrame(nil, 0, &frame.Open{ContainerID: "peer", MaxFrameSize: 512})
	begin := appendFrame(open, 0, &frame.Begin{IncomingWindow: 5, OutgoingWindow: 5, HandleMax: 5})
	up := appendFrame(begin, 0, attachOf("up", 0))
	down := receiver("down")
	down.Handle = 1
	both := appendFrame(up, 0, &down)
	f.Add(open, byte(7))
	f.Add(appendFrame(both, 0, transfer(0)), byte(3))
	f.Add(appendFrame(appendFrame(both, 0, more(0, nil)), 0, &frame.Transfer{Aborted: true}), byte(1))
	f.Add(appendFrame(appendFrame(both, 0, &frame.Flow{IncomingWindow: 9, Handle: frame.Some[uint32](1), LinkCredit: frame.Some[uint32](9), Drain: true, Echo: true}),
		0, &frame.Disposition{Role: frame.Receiver, Last: 9, Settled: true, State: accepted}), byte(200))
	f.Add(appendFrame(appendFrame(appendFrame(both, 0, &frame.Detach{Handle: 1}), 0, &frame.End{}), 0, &frame.Close{}), byte(0))
	back := attachOf("up", 2)
	back.ReceiverSettleMode, back.Unsettled = frame.ReceiveSecond, unsettled([]string{"\x01", "x"}, map[string]frame.State{"x": received})
	resume := transfer(2)
	resume.Handle, resume.DeliveryID, resume.Resume = 2, frame.Some[uint32](1), true
	f.Add(appendFrame(appendFrame(appendFrame(appendFrame(up, 0, transfer(0)), 0, &frame.Detach{}), 0, back), 0, resume), byte(9))
	f.Add(appendFrame(appendFrame(appendFrame(up, 0, transfer(0)), 0, back), 0, resume), byte(0))
	f.Fuzz(func(t *testing.T, in []byte, cut byte) {
		cfg := Config{MaxFrameSize: 2048, MaxPartial: 10_000, MaxMessageSize: 5000, MaxOutput: 4000, IncomingWindow: 50, ChannelMax: 3, HandleMax: 3}
		play(t, serverOf(t, cfg), append([]byte(frame.ProtocolAMQP), in...), int(cut))
	})
}

// FuzzSASL lets a peer say anything in the layer before.
func FuzzSASL(f *testing.F) {
	say := func(b []byte, p performative) []byte {
		return frame.EndFrame(p.Append(frame.BeginFrame(b, frame.TypeSASL, 0)), len(b))
	}
	f.Add(say(nil, &frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00a\x00b")}))
	f.Add(say(say(nil, &frame.SASLInit{Mechanism: "SCRAM-SHA-256", InitialResponse: []byte("n,,n=user,r=abc")}), &frame.SASLResponse{Response: []byte("c=biws,r=abc,p=AAAA")}))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := serverOf(t, Config{Checker: &sasl.Checker{Mechanisms: []string{sasl.Plain, sasl.ScramSHA256}}})
		play(t, s, append([]byte(frame.ProtocolSASL), in...), 50)
		if s.c.layer == atAMQP {
			t.Error("somebody got in")
		}
	})
}

func serverOf(t *testing.T, cfg Config) *side {
	s := &side{t: t}
	cfg.ContainerID = "server"
	s.c = NewServer(cfg, s)
	return s
}

// play lets a side take the bytes in pieces, with handlers that do a little of everything.
func play(t *testing.T, s *side, in []byte, cut int) {
	n := 0
	memories := map[string]*Memory{}
	var held []*Delivery
	s.left = func(l *Link, closed bool) {
		if delete(memories, l.Name()); !closed && !l.Sender() {
			memories[l.Name()] = l.Suspend()
		}
		for _, d := range held {
			d.Settle(accepted)
		}
		held = nil
	}
	s.attach = func(l *Link) {
		if n++; n%5 == 0 {
			l.Refuse(&frame.Error{Condition: frame.NotFound})
			return
		}
		if !l.Sender() {
			l.Remember(memories[l.Name()])
		}
		_ = l.Accept(frame.Attach{}) // the answer may not fit into the peer's frames
		l.Grant(3)
	}
	s.take = func(l *Link, d *Delivery, payload []byte) {
		if n++; n%3 != 0 {
			d.Settle(accepted)
			l.Grant(1)
		} else {
			held = append(held, d)
		}
	}
	s.flow = func(l *Link) {
		_, _ = l.Send(Outgoing{Tag: []byte("x"), Payload: make([]byte, 700)})
		l.Drained()
	}
	s.settled = func(_ *Link, d *Delivery) { d.Settle(frame.State{}) }
	var out []byte
	for rest := in; ; {
		k := min(len(rest), 1+cut+(len(in)-len(rest))/4)
		used, _, err := s.c.Input(rest[:k], now)
		bounded(t, s.c)
		out = s.c.Output(out[:0])
		s.c.Resume()
		if err != nil {
			if !s.over {
				t.Errorf("over with %v, and nobody was told", err)
			}
			return
		}
		cut = k - used
		if used == 0 && k == len(rest) {
			break
		}
		rest = rest[used:]
	}
	s.c.Lost(nil)
	if s.c.links != 0 || len(s.c.names) != 0 {
		t.Errorf("%d links are left, %d names", s.c.links, len(s.c.names))
	}
	for name, m := range memories {
		if m.Len() > len(in)/10 {
			t.Errorf("%s remembers %d deliveries", name, m.Len())
		}
	}
}

func bounded(t *testing.T, c *Conn) {
	t.Helper()
	if c.kept > c.cfg.MaxPartial+int(c.cfg.MaxFrameSize) || c.kept < 0 {
		t.Errorf("%d bytes are kept", c.kept)
	}
	if len(c.out) > 3*c.cfg.MaxOutput+int(c.cfg.MaxFrameSize) {
		t.Errorf("%d bytes wait", len(c.out))
	}
	for _, s := range c.local {
		if s != nil && s.in.live > 100_000 {
			t.Errorf("%d unsettled deliveries", s.in.live)
		}
	}
}

// FuzzClient lets a server say anything.
func FuzzClient(f *testing.F) {
	open := appendFrame([]byte(frame.ProtocolAMQP), 0, &frame.Open{ContainerID: "peer", MaxFrameSize: 512})
	begin := appendFrame(open, 0, &frame.Begin{RemoteChannel: frame.Some[uint16](0), IncomingWindow: 5, OutgoingWindow: 5, HandleMax: 5})
	up, down := receiver("up"), sender("down")
	down.Handle = 1
	both := appendFrame(appendFrame(begin, 0, &up), 0, &down)
	onDown := transfer(0)
	onDown.Handle = 1
	f.Add(open, byte(7))
	f.Add(appendFrame(both, 0, onDown), byte(200))
	f.Add(appendFrame(both, 0, &frame.Flow{IncomingWindow: 9, Handle: frame.Some[uint32](0), LinkCredit: frame.Some[uint32](9)}), byte(20))
	f.Add(appendFrame(both, 0, &frame.Detach{Handle: 1, Error: frame.Error{Condition: frame.NotFound}}), byte(20))
	f.Fuzz(func(t *testing.T, in []byte, cut byte) {
		s := &side{t: t}
		s.c = NewClient(Config{ContainerID: "client", MaxFrameSize: 2048, MaxPartial: 10_000, MaxOutput: 4000, ChannelMax: 3, HandleMax: 3}, s)
		session, err := s.c.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []frame.Attach{sender("up"), receiver("down")} {
			l, err := session.Attach(a, s)
			if err != nil {
				t.Fatal(err)
			}
			l.Grant(2)
		}
		play(t, s, in, int(cut))
	})
}
