package engine

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// raw is a server and a peer that says what it likes.
type raw struct {
	t      *testing.T
	server *side
	in     []byte
	frames []frame.Frame // that the server has said
	header string
	err    error
}

func newRaw(t *testing.T, cfg Config) *raw {
	t.Helper()
	cfg.ContainerID = "server"
	r := &raw{t: t, server: &side{t: t}}
	r.server.c = NewServer(cfg, r.server)
	return r
}

// opened is after header, open and begin.
func opened(t *testing.T, cfg Config) *raw {
	r := newRaw(t, cfg)
	r.bytes([]byte(frame.ProtocolAMQP))
	r.say(0, &frame.Open{ContainerID: "peer", MaxFrameSize: 1 << 16, ChannelMax: 1 << 15})
	r.say(0, &frame.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 1 << 15})
	r.hear()
	return r
}

// linked has a link besides on handle 0, with the peer as the sender, and a credit of 2.
func linked(t *testing.T, cfg Config) *raw {
	r := opened(t, cfg)
	r.say(0, attachOf("up", 0))
	r.server.links[0].Grant(2)
	r.hear()
	return r
}

func attachOf(name string, handle uint32) *frame.Attach {
	a := sender(name)
	a.Handle = handle
	return &a
}

func (r *raw) say(channel uint16, p performative) { r.bytes(appendFrame(nil, channel, p)) }

func (r *raw) bytes(b []byte) {
	r.t.Helper()
	r.in = append(r.in, b...)
	n, _, err := r.server.c.Input(r.in, now)
	r.in = r.in[n:]
	r.err = err
}

// hear returns what the server says.
func (r *raw) hear() []frame.Frame {
	r.t.Helper()
	b := r.server.c.Output(nil)
	if strings.HasPrefix(string(b), "AMQP") {
		r.header, b = string(b[:8]), b[8:]
	}
	r.frames = nil
	for len(b) > 0 {
		f, n, _, err := frame.Cut(b, 0)
		if err != nil || n == 0 {
			r.t.Fatal(n, err)
		}
		r.frames, b = append(r.frames, f), b[n:]
	}
	return r.frames
}

// said returns the condition with which the server has said end, detach or close in what it said last; "" if it has not.
func (r *raw) said(what frame.Descriptor) frame.Symbol {
	r.t.Helper()
	for _, f := range r.hear() {
		code, err := frame.DescriptorOf(f.Body)
		if err != nil || code != what {
			continue
		}
		var e frame.End
		var d frame.Detach
		var c frame.Close
		switch what {
		case frame.CodeEnd:
			err = e.Decode(f.Body)
		case frame.CodeDetach:
			err = d.Decode(f.Body)
			e.Error = d.Error
		case frame.CodeClose:
			err = c.Decode(f.Body)
			e.Error = c.Error
		}
		if err != nil {
			r.t.Fatal(err)
		}
		return e.Error.Condition
	}
	return ""
}

func transfer(id uint32) *frame.Transfer {
	return &frame.Transfer{DeliveryID: frame.Some(id), DeliveryTag: []byte{1}, Payload: []byte("x")}
}

// more is the n-th part of a delivery.
func more(id uint32, change func(t *frame.Transfer)) *frame.Transfer {
	t := transfer(id)
	t.More = true
	if change != nil {
		change(t)
	}
	return t
}

func TestViolationsOfALink(t *testing.T) {
	for _, c := range []struct {
		name string
		says []performative
		want frame.Symbol
	}{
		{"more than the credit [AMQP 2.6.7]", []performative{transfer(0), transfer(1), transfer(2)}, frame.TransferLimitExceeded},
		{"too large [AMQP 2.7.3]", []performative{&frame.Transfer{DeliveryID: frame.Some[uint32](0), DeliveryTag: []byte{1}, Payload: make([]byte, 1001)}}, frame.MessageSizeExceeded},
		{"too large in parts", []performative{more(0, func(t *frame.Transfer) { t.Payload = make([]byte, 999) }), more(0, func(t *frame.Transfer) { t.Payload = make([]byte, 2) })}, frame.MessageSizeExceeded},
		{"no tag [AMQP 2.7.5]", []performative{&frame.Transfer{DeliveryID: frame.Some[uint32](0)}}, frame.InvalidField},
		{"another id within a delivery [AMQP 2.7.5]", []performative{more(0, nil), more(1, nil)}, frame.InvalidField},
		{"another tag within a delivery [AMQP 2.7.5]", []performative{more(0, nil), more(0, func(t *frame.Transfer) { t.DeliveryTag = []byte{2} })}, frame.InvalidField},
		{"another format within a delivery [AMQP 2.7.5]", []performative{more(0, nil), more(0, func(t *frame.Transfer) { t.MessageFormat = frame.Some[uint32](1) })}, frame.InvalidField},
		{"mode second on a link of first [AMQP 2.7.5]", []performative{more(0, func(t *frame.Transfer) { t.ReceiverSettleMode = frame.Some(frame.ReceiveSecond) })}, frame.InvalidField},
	} {
		r := linked(t, Config{MaxMessageSize: 1000})
		for _, p := range c.says {
			r.say(0, p)
		}
		if got := r.said(frame.CodeDetach); got != c.want {
			t.Errorf("%s: detached with %q", c.name, got)
		}
		if r.err != nil {
			t.Errorf("%s: %v", c.name, r.err)
		}
		if len(r.server.log) == 0 || r.server.log[len(r.server.log)-1] != "detached up true "+string(c.want) {
			t.Errorf("%s: told %v", c.name, r.server.log)
		}
		if r.server.c.kept > 200 {
			t.Errorf("%s: %d bytes are kept", c.name, r.server.c.kept)
		}
		r.say(0, &frame.Detach{Closed: true})
		r.say(0, attachOf("again", 0))
		if len(r.server.links) != 2 {
			t.Errorf("%s: the session is over", c.name)
		}
	}
}

func TestViolationsOfASession(t *testing.T) {
	on := func(handle uint32, p *frame.Transfer) *frame.Transfer {
		p.Handle = handle
		return p
	}
	for _, c := range []struct {
		name string
		says []performative
		want frame.Symbol
	}{
		{"outside of the window [AMQP 2.8.17]", []performative{more(0, nil), more(0, nil), more(0, nil), more(0, nil), more(0, nil)}, frame.WindowViolation},
		{"handle in use [AMQP 2.8.17]", []performative{attachOf("other", 0)}, frame.HandleInUse},
		{"transfer on no link [AMQP 2.8.17]", []performative{on(7, transfer(0))}, frame.UnattachedHandle},
		{"flow on no link [AMQP 2.8.17]", []performative{&frame.Flow{Handle: frame.Some[uint32](7)}}, frame.UnattachedHandle},
		{"detach of no link [AMQP 2.8.17]", []performative{&frame.Detach{Handle: 7}}, frame.UnattachedHandle},
		{"transfers go on after a violation [AMQP 2.6.5]", []performative{more(0, nil), more(1, nil), transfer(1), transfer(2), transfer(3)}, frame.ErrantLink},
		{"ids that leave some out [AMQP 2.6.12]", []performative{transfer(5), transfer(7)}, frame.InvalidField},
		{"no id [AMQP 2.7.5]", []performative{&frame.Transfer{DeliveryTag: []byte{1}}}, frame.InvalidField},
		{"ahead of what was sent [AMQP 2.5.6]", []performative{&frame.Flow{NextIncomingID: frame.Some[uint32](1)}}, frame.InvalidField},
	} {
		r := linked(t, Config{IncomingWindow: 4})
		for _, p := range c.says {
			r.say(0, p)
		}
		if got := r.said(frame.CodeEnd); got != c.want {
			t.Errorf("%s: ended with %q", c.name, got)
		}
		if r.err != nil || !slices.Contains(r.server.log, "ended "+string(c.want)) {
			t.Errorf("%s: %v, told %v", c.name, r.err, r.server.log)
		}
		r.say(0, transfer(9)) // is discarded [AMQP 2.5.4]
		r.say(0, &frame.End{})
		r.say(0, &frame.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 9})
		r.say(0, attachOf("again", 0))
		if len(r.server.links) != 2 || r.err != nil {
			t.Errorf("%s: the connection is over: %v", c.name, r.err)
		}
	}
}

func TestViolationsOfAConnection(t *testing.T) {
	begin := &frame.Begin{IncomingWindow: 1, OutgoingWindow: 1, HandleMax: 9}
	framed := func(p performative) []byte { return appendFrame(nil, 0, p) }
	on := func(channel uint16, p performative) []byte { return appendFrame(nil, channel, p) }
	for _, c := range []struct {
		name string
		says []byte
		want frame.Symbol
	}{
		{"a second open", framed(&frame.Open{ContainerID: "peer"}), frame.IllegalState},
		{"a channel above the highest [AMQP 2.7.1]", on(10, begin), frame.FramingError},
		{"a channel that is in use", framed(begin), frame.IllegalState},
		{"the answer to nothing [AMQP 2.5.1]", on(1, &frame.Begin{RemoteChannel: frame.Some[uint16](0)}), frame.IllegalState},
		{"no session", on(1, transfer(0)), frame.NotAllowed},
		{"end of no session", on(1, &frame.End{}), frame.NotAllowed},
		{"a handle above the highest [AMQP 2.7.2]", framed(attachOf("x", 20)), frame.FramingError},
		{"too many links", slices.Concat(framed(attachOf("x", 1)), framed(attachOf("y", 2)), framed(attachOf("z", 3))), frame.ResourceLimitExceeded},
		{"a frame larger than agreed [AMQP 2.7.1]", []byte{0, 0, 2, 1, 2, 0, 0, 0}, frame.FramingError},
		{"a frame smaller than its header [AMQP 2.3.1]", []byte{0, 0, 0, 7, 2, 0, 0, 0}, frame.FramingError},
		{"a data offset within the header [AMQP 2.3.1]", []byte{0, 0, 0, 9, 1, 0, 0, 0, 0}, frame.FramingError},
		{"a SASL frame after SASL", []byte{0, 0, 0, 9, 2, 1, 0, 0, 0}, frame.FramingError},
		{"no performative", []byte{0, 0, 0, 9, 2, 0, 0, 0, 0x40}, frame.DecodeError},
		{"an unknown performative", []byte{0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x70, 0x45}, frame.FramingError},
		{"a broken performative", []byte{0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x14, 0x45}, frame.InvalidField},
		{"a backward disposition", framed(&frame.Disposition{First: 5, Last: 4}), frame.InvalidField},
		{"a large attach", framed(&frame.Attach{Name: strings.Repeat("x", 400), Handle: 1}), frame.ResourceLimitExceeded},
	} {
		r := linked(t, Config{MaxFrameSize: 512, ChannelMax: 9, HandleMax: 9, MaxLinks: 2, MaxPartial: 300})
		r.bytes(c.says)
		if got := r.said(frame.CodeClose); got != c.want {
			t.Errorf("%s: closed with %q", c.name, got)
		}
		var e *frame.Error
		if !errors.As(r.err, &e) || e.Condition != c.want || !r.server.over {
			t.Errorf("%s: %v, told %v", c.name, r.err, r.server.log)
		}
		if _, _, err := r.server.c.Input([]byte("more"), now); !errors.Is(err, r.err) {
			t.Errorf("%s: then %v", c.name, err)
		}
	}
}

// Before the open there is no close without an open, too [AMQP 2.4.1].
func TestNoOpen(t *testing.T) {
	r := newRaw(t, Config{})
	r.bytes([]byte(frame.ProtocolAMQP))
	r.say(0, &frame.Begin{})
	if got := r.said(frame.CodeClose); got != frame.IllegalState || len(r.frames) != 2 {
		t.Error(got, len(r.frames))
	}
}

// A peer that speaks something else is told what we speak, at its first wrong byte [AMQP 2.2].
func TestHeaders(t *testing.T) {
	known := &sasl.Checker{Mechanisms: []string{sasl.Plain}}
	for _, c := range []struct {
		says    string
		checker *sasl.Checker
		want    string
	}{
		{"GET / HTTP/1.1", nil, frame.ProtocolAMQP},
		{"AM\x10", nil, frame.ProtocolAMQP},
		{"AMQP\x00\x00\x09\x01", nil, frame.ProtocolAMQP},
		{frame.ProtocolTLS, nil, frame.ProtocolAMQP},
		{frame.ProtocolAMQP, known, frame.ProtocolSASL},
		{"\x10", known, frame.ProtocolSASL},
	} {
		r := newRaw(t, Config{Checker: c.checker})
		r.bytes([]byte(c.says))
		r.hear()
		if !errors.Is(r.err, ErrProtocol) || r.header != c.want || !r.server.over {
			t.Errorf("%q: %v, %q", c.says, r.err, r.header)
		}
	}
}

func TestViolationsOfSASL(t *testing.T) {
	sasl1 := func(p performative) []byte {
		return frame.EndFrame(p.Append(frame.BeginFrame(nil, frame.TypeSASL, 0)), 0)
	}
	known := &sasl.Checker{Mechanisms: []string{sasl.Plain}}
	for _, c := range []struct {
		name string
		says []byte
	}{
		{"a frame of AMQP", appendFrame(nil, 0, &frame.Open{ContainerID: "peer"})},
		{"too large", []byte{0, 1, 0, 0, 2, 1, 0, 0}},
		{"a response at first", sasl1(&frame.SASLResponse{Response: []byte("x")})},
		{"what only a server says", sasl1(&frame.SASLOutcome{})},
		{"a mechanism that was not offered", sasl1(&frame.SASLInit{Mechanism: "ANONYMOUS"})},
		{"a wrong password", sasl1(&frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00a\x00b")})},
	} {
		r := newRaw(t, Config{Checker: known})
		r.bytes([]byte(frame.ProtocolSASL))
		r.bytes(c.says)
		if r.err == nil || !r.server.over || r.server.c.Username() != "" {
			t.Errorf("%s: passed", c.name)
		}
	}
}

// A peer that is silent loses its connection, and one that expects to hear something does [AMQP 2.4.5].
func TestIdle(t *testing.T) {
	r := newRaw(t, Config{IdleTimeout: time.Minute})
	r.bytes([]byte(frame.ProtocolAMQP))
	r.say(0, &frame.Open{ContainerID: "peer", MaxFrameSize: 512, IdleTimeout: 8000})
	var o frame.Open
	if err := o.Decode(r.hear()[0].Body); err != nil || o.IdleTimeout != 30_000 {
		t.Error(err, o.IdleTimeout)
	}
	beats, at := 0, now
	for {
		next, err := r.server.c.Tick(at, at)
		if err != nil {
			if !errors.Is(err, ErrIdle) || at != now.Add(time.Minute) {
				t.Error(err, at)
			}
			break
		}
		if !next.After(at) || next.Sub(at) > 2*time.Second {
			t.Fatal(next)
		}
		for _, f := range r.hear() {
			if len(f.Body) == 0 {
				beats++
			}
		}
		at = next
	}
	// Who does not listen does not call the peer silent.
	deaf := newRaw(t, Config{IdleTimeout: time.Minute})
	deaf.bytes([]byte(frame.ProtocolAMQP))
	deaf.server.c.Listen(now.Add(time.Hour))
	if next, err := deaf.server.c.Tick(now.Add(time.Hour), now.Add(time.Hour)); err != nil || next != now.Add(time.Hour+time.Minute) {
		t.Error(next, err)
	}
	// Nor does who has not read what came meanwhile.
	slow := newRaw(t, Config{IdleTimeout: time.Minute})
	slow.bytes([]byte(frame.ProtocolAMQP))
	for _, seen := range []time.Time{{}, now.Add(time.Minute - 1), now.Add(time.Minute)} {
		slow.server.c.Listen(now)
		_, err := slow.server.c.Tick(now.Add(time.Hour), seen)
		if (err != nil) != (seen == now.Add(time.Minute)) {
			t.Error(seen, err)
		}
	}
	if beats < 14 || r.said(frame.CodeClose) != frame.ResourceLimitExceeded {
		t.Error(beats)
	}

	r = newRaw(t, Config{})
	r.bytes([]byte(frame.ProtocolAMQP))
	r.say(0, &frame.Open{ContainerID: "peer", MaxFrameSize: 512, IdleTimeout: 1})
	if got := r.said(frame.CodeClose); got != frame.NotAllowed {
		t.Error(got)
	}
}

// An aborted delivery is as if it had never been, but for the credit [AMQP 2.7.5].
func TestAborted(t *testing.T) {
	r := linked(t, Config{})
	kept := r.server.c.kept
	r.say(0, more(0, nil))
	r.say(0, &frame.Transfer{More: true, Payload: []byte("y")})
	r.say(0, &frame.Transfer{Aborted: true})
	r.say(0, transfer(1))
	if len(r.server.got) != 1 || r.server.got[0] != "x" || r.server.c.kept != kept || r.err != nil {
		t.Error(r.server.got, r.server.c.kept, r.err)
	}
	if r.server.links[0].Credit() != 0 {
		t.Error(r.server.links[0].Credit())
	}
}

// A peer that does not read what it makes us say is not heard any more.
func TestBlocked(t *testing.T) {
	r := linked(t, Config{MaxOutput: 1000})
	echo := appendFrame(nil, 0, &frame.Begin{IncomingWindow: 1, OutgoingWindow: 1})
	var in []byte
	for i := range 255 {
		echo[6], echo[7] = 0, byte(i+1)
		in = append(in, echo...)
	}
	n, _, err := r.server.c.Input(in, now)
	if err != nil || n == len(in) || !r.server.c.Blocked() {
		t.Error(n, err)
	}
	for n < len(in) {
		r.hear()
		took, _, err := r.server.c.Input(in[n:], now)
		if err != nil || took == 0 {
			t.Fatal(took, err)
		}
		n += took
	}
	r.in = nil
	r.say(0, &frame.Close{})
	if !errors.Is(r.err, io.EOF) {
		t.Error(r.err)
	}
}
