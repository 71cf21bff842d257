package amqp_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A wired is a client of one session, frame by frame: no library has an opinion of its own on what it sends.
type wired struct {
	*raw
	sent uint32 // delivery-ids
	got  []any  // performatives that have come and were not asked for
}

func (b *berth) wired(container string) *wired {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	b.wires = append(b.wires, nc)
	w := &wired{raw: &raw{TB: b.t, Conn: nc, in: make([]byte, 0, 256<<10)}}
	_ = w.Conn.SetReadDeadline(time.Now().Add(amqptest.Patience))
	w.raw.write([]byte(frame.ProtocolAMQP))
	w.say(&frame.Open{ContainerID: container, MaxFrameSize: 64 << 10, ChannelMax: 1})
	w.say(&frame.Begin{IncomingWindow: 1 << 20, OutgoingWindow: 1 << 20, HandleMax: 8})
	for len(w.in) < 8 {
		w.read()
	}
	w.in = w.in[:copy(w.in, w.in[8:])]
	return w
}

func (w *wired) say(p interface{ Append([]byte) []byte }) {
	w.Helper()
	w.raw.write(frame.EndFrame(p.Append(frame.BeginFrame(nil, frame.TypeAMQP, 0)), 0))
}

// await returns the next frame of a kind; others wait.
func await[T any, P interface {
	*T
	Decode([]byte) error
}](w *wired, code frame.Descriptor) P {
	w.Helper()
	for {
		for i, p := range w.got {
			if p, ok := p.(P); ok {
				w.got = slices.Delete(w.got, i, i+1)
				return p
			}
		}
		var err error
		w.frames(func(what frame.Descriptor, body []byte) {
			if p := P(new(T)); what == code {
				err = errors.Join(err, p.Decode(slices.Clone(body)))
				w.got = append(w.got, p)
				return
			}
			var other interface{ Decode([]byte) error }
			switch what {
			case frame.CodeTransfer:
				other = new(frame.Transfer)
			case frame.CodeDisposition:
				other = new(frame.Disposition)
			case frame.CodeDetach:
				other = new(frame.Detach)
			case frame.CodeAttach:
				other = new(frame.Attach)
			default:
				return
			}
			err = errors.Join(err, other.Decode(slices.Clone(body)))
			w.got = append(w.got, other)
		})
		if err != nil {
			w.Fatal(err)
		}
		if len(w.got) == 0 || !slices.ContainsFunc(w.got, func(p any) bool { _, ok := p.(P); return ok }) {
			w.read()
		}
	}
}

// attach attaches a link and returns the answer.
func (w *wired) attach(a frame.Attach) *frame.Attach {
	w.Helper()
	w.say(&a)
	return await[frame.Attach](w, frame.CodeAttach)
}

// send sends a message, or resumes it.
func (w *wired) send(t frame.Transfer) {
	w.Helper()
	t.DeliveryID = frame.Some(w.sent)
	w.sent++
	w.say(&t)
}

// outcome returns what is said next of one delivery.
func (w *wired) outcome() string {
	w.Helper()
	d := await[frame.Disposition](w, frame.CodeDisposition)
	return fmt.Sprintf("%d-%d %s settled=%v", d.First, d.Last, d.State.Kind, d.Settled)
}

// transfer returns the next transfer in words.
func (w *wired) transfer() (string, *frame.Transfer) {
	w.Helper()
	t := await[frame.Transfer](w, frame.CodeTransfer)
	words := string(t.DeliveryTag)
	if t.Resume {
		words += " resume"
	}
	switch {
	case t.Settled:
		words += " settled " + t.State.Kind.String()
	case t.Aborted:
		words += " aborted"
	case len(t.Payload) > 0:
		words += " message"
	}
	return words, t
}

// grant gives credit for n more.
func (w *wired) grant(count, n uint32) {
	w.say(&frame.Flow{IncomingWindow: 1 << 20, NextIncomingID: frame.Some(uint32(0)), OutgoingWindow: 1 << 20,
		Handle: frame.Some(uint32(0)), DeliveryCount: frame.Some(count), LinkCredit: frame.Some(n)})
}

// hangUp ends all connections, and then the listener.
func (b *berth) hangUp() {
	b.t.Helper()
	for _, c := range b.wires {
		_ = c.Close()
	}
	b.gone(0)
	b.stop()
}

// gone waits until n connections are left.
func (b *berth) gone(n int64) {
	b.t.Helper()
	until(b.t, "the end of connections", func() bool { return b.Stats().Opened.Load() == n })
}
