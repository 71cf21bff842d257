package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/amqp/frame"
)

// Names that the ratios under the table refer to.
const amqpUplinkFlood = "AMQP uplink 50 × 100, unsettled, Apache Kafka"

const (
	amqpOnApache = `
kafka: {brokers: ["$KAFKA"]}
admin: {listen: "$ADMIN"}
endpoints: {apps: {listen: "amqp://$MQTT"}}
routes:
  - {from: "amqp:bench/{app}", to: "kafka:$UP", key: "{app}"}
`
	amqpIdle = `
kafka: {embedded: {dir: "$DIR/kafka", listen: "$EMBEDDED"}}
admin: {listen: "$ADMIN"}
endpoints: {apps: {listen: "amqp://$MQTT", idle_timeout: 1h}}
`
)

// An app is one AMQP connection of the load generator, with one session and one link. It costs as little as it can: the processors are the
// server's.
type app struct {
	device        // its connection and what was read
	credit uint32 // that the server gave in all
	window uint32 // transfers that the server takes in all
}

// wide is a window or a frame size that never matters.
const wide = 1 << 30

// attach connects without SASL, and attaches a sender to address, or a receiver of it.
func attach(addr, name, address string, role frame.Role) (*app, error) {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	a := &app{device: device{conn: conn}}
	link := frame.Attach{Name: name, Role: role, Source: &frame.Source{}, Target: &frame.Target{}}
	if role == frame.Sender {
		link.Target.Address = frame.Some(address)
	} else {
		link.Source.Address = frame.Some(address)
	}
	b := []byte("AMQP\x00\x01\x00\x00")
	b = performative(b, (&frame.Open{ContainerID: name, MaxFrameSize: 65536, ChannelMax: 1}).Append)
	b = performative(b, (&frame.Begin{IncomingWindow: wide, OutgoingWindow: wide, HandleMax: 1}).Append)
	b = performative(b, link.Append)
	if _, err = conn.Write(b); err == nil {
		err = a.attached(role)
	}
	if err != nil {
		a.close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return a, nil
}

// performative adds a frame.
func performative(b []byte, body func([]byte) []byte) []byte {
	at := len(b)
	return frame.EndFrame(body(frame.BeginFrame(b, frame.TypeAMQP, 0)), at)
}

// attached reads until the link is there, a sender's with credit.
func (a *app) attached(role frame.Role) error {
	for len(a.in) < 8 {
		if err := a.fill(); err != nil {
			return err
		}
	}
	a.in = a.in[8:] // the protocol header
	there := false
	for !there || role == frame.Sender && a.credit == 0 {
		err := a.frames(func(code frame.Descriptor, body []byte) error {
			switch code {
			case frame.CodeAttach:
				there = true
			case frame.CodeBegin:
				var s frame.Begin
				if err := s.Decode(body); err != nil {
					return err
				}
				a.window = s.IncomingWindow
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !there || role == frame.Sender && a.credit == 0 {
			if err := a.fill(); err != nil {
				return err
			}
		}
	}
	return nil
}

// frames hands over the whole frames that are there. It takes care of what the server says of windows and credit itself.
func (a *app) frames(take func(code frame.Descriptor, body []byte) error) error {
	for {
		f, n, _, err := frame.Cut(a.in, 0)
		if err != nil || n == 0 {
			return err
		}
		a.in = a.in[n:]
		if len(f.Body) == 0 {
			continue
		}
		code, err := frame.DescriptorOf(f.Body)
		if err != nil {
			return err
		}
		switch code {
		case frame.CodeFlow:
			err = a.flow(f.Body)
		case frame.CodeDetach, frame.CodeEnd, frame.CodeClose:
			err = fmt.Errorf("ended by the server: %q", f.Body)
		default:
			err = take(code, f.Body)
		}
		if err != nil {
			return err
		}
	}
}

func (a *app) flow(body []byte) error {
	var w frame.Flow
	if err := w.Decode(body); err != nil {
		return err
	}
	a.window = w.NextIncomingID.V + w.IncomingWindow
	if w.Handle.OK {
		a.credit = w.DeliveryCount.V + w.LinkCredit.V
	}
	return nil
}

// An amqpSender is an app that sends messages as fast as they are accepted.
type amqpSender struct {
	*app
	ring     []byte // a message for each place of the window
	size     int    // of one
	id, body int    // where in it the delivery-id, and the payload are
	inFlight int    // at most
	sent     uint32
	acked    int
	seen     atomic.Int64 // acked, for others to read
	samples  samples
}

func newAMQPSender(a *app, window int) *amqpSender {
	t := frame.Transfer{DeliveryID: frame.Some(uint32(wide)), DeliveryTag: []byte{0, 0, 0, 0}, MessageFormat: frame.Some(uint32(0))}
	t.Payload = append([]byte{0x00, 0x53, 0x75, 0xa0, payload}, make([]byte, payload)...) // one data section
	one := performative(nil, t.Append)
	s := &amqpSender{app: a, size: len(one), body: len(one) - payload, inFlight: window}
	s.id = indexOf(one, binary.BigEndian.AppendUint32([]byte{0x70}, wide)) + 1
	for range window {
		s.ring = append(s.ring, one...)
	}
	return s
}

// indexOf returns where part is in b.
func indexOf(b, part []byte) int {
	for i := range b {
		if string(b[i:min(i+len(part), len(b))]) == string(part) {
			return i
		}
	}
	panic("a transfer without its delivery-id")
}

// flood keeps the window full until told to stop, and then waits for what is not accepted yet.
func (s *amqpSender) flood(stop *atomic.Bool) error {
	for {
		room := min(s.inFlight-(int(s.sent)-s.acked), int(s.credit-s.sent), int(s.window-s.sent))
		if room > 0 && !stop.Load() {
			if err := s.write(room); err != nil {
				return err
			}
		}
		if s.acked == int(s.sent) && stop.Load() {
			return nil
		}
		if err := s.takeOutcomes(); err != nil {
			return err
		}
	}
}

// write sends the next n messages in one write, two where the ring ends.
func (s *amqpSender) write(n int) error {
	now := time.Now()
	for n > 0 {
		at := int(s.sent) % s.inFlight
		run := min(n, s.inFlight-at)
		for i := range run {
			one := s.ring[(at+i)*s.size:]
			binary.BigEndian.PutUint32(one[s.id:], s.sent)
			stamp(one[s.body:], now)
			s.sent++
		}
		if _, err := s.conn.Write(s.ring[at*s.size : (at+run)*s.size]); err != nil {
			return err
		}
		n -= run
	}
	return nil
}

// takeOutcomes reads what there is, at least once.
func (s *amqpSender) takeOutcomes() error {
	if err := s.fill(); err != nil {
		return err
	}
	defer func() { s.seen.Store(int64(s.acked)) }()
	now := time.Now()
	return s.frames(func(code frame.Descriptor, body []byte) error {
		var d frame.Disposition
		if err := d.Decode(body); err != nil {
			return err
		}
		if !d.Settled || d.State.Kind != frame.Accepted || int(d.First) != s.acked {
			return fmt.Errorf("message %d: got %+v", s.acked, d)
		}
		s.samples.add(s.ring[int(d.First)%s.inFlight*s.size+s.body:], now)
		s.acked = int(d.Last) + 1
		return nil
	})
}

// amqpUplink measures senders of unsettled messages.
func amqpUplink(apps, window int) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, up, _, err := l.bridge(amqpOnApache)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		all := make([]*amqpSender, apps)
		for i := range all {
			a, err := attach(s.mqtt, fmt.Sprintf("bench-%d", i), fmt.Sprintf("bench/%d", i), frame.Sender)
			if err != nil {
				return result{}, err
			}
			defer a.close()
			all[i] = newAMQPSender(a, window)
		}
		var stop atomic.Bool
		errs := make([]error, apps)
		var running sync.WaitGroup
		for i, a := range all {
			running.Go(func() {
				if errs[i] = a.flood(&stop); errs[i] != nil {
					stop.Store(true)
				}
			})
		}
		time.Sleep(warmUp)
		before, began := s.cpu(), time.Now()
		var r result
		for _, a := range all {
			r.messages -= int(a.seen.Load())
		}
		time.Sleep(l.length)
		stop.Store(true)
		running.Wait()
		if err := errors.Join(errs...); err != nil {
			return result{}, fmt.Errorf("%w\n%s", err, s.Tail(4000))
		}
		r.cpu, r.elapsed = s.cpu()-before, time.Since(began)
		sent := 0
		var outcomes latencies
		for _, a := range all {
			sent += a.acked
			outcomes = append(outcomes, a.samples.since(began)...)
		}
		r.messages += sent
		r.ackP50, r.ackP99 = outcomes.quantile(0.5), outcomes.quantile(0.99)
		n, err := count(l.ctx, s.kafka, up)
		r.lost = max(0, sent-n)
		return r, err
	}
}

// amqpCredit is what each receiver gives.
const amqpCredit = 1000

// receiveAll gives credit, accepts what comes, all that one read brings in one disposition, and tells how many came.
func (a *app) receiveAll(came func(n int)) error {
	out := a.grant(nil, 0)
	var next, granted uint32
	granted = amqpCredit
	for {
		if _, err := a.conn.Write(out); err != nil {
			return err
		}
		if err := a.fill(); err != nil {
			return err
		}
		first := next
		err := a.frames(func(code frame.Descriptor, body []byte) error {
			var t frame.Transfer
			if err := t.Decode(body); err != nil {
				return err
			}
			if t.DeliveryID.V != next || t.More {
				return fmt.Errorf("got delivery %d, want %d", t.DeliveryID.V, next)
			}
			next++
			return nil
		})
		if err != nil {
			return err
		}
		if out = out[:0]; next == first {
			continue
		}
		d := frame.Disposition{Role: frame.Receiver, First: first, Last: next - 1, Settled: true, State: frame.State{Kind: frame.Accepted}}
		out = performative(out, d.Append)
		if granted-next < amqpCredit/2 {
			granted = next + amqpCredit
			out = a.grant(out, next)
		}
		came(int(next - first))
	}
}

// grant adds a flow that gives all credit anew.
func (a *app) grant(b []byte, delivered uint32) []byte {
	w := frame.Flow{NextIncomingID: frame.Some(delivered), IncomingWindow: wide, OutgoingWindow: wide,
		Handle: frame.Some(uint32(0)), DeliveryCount: frame.Some(delivered), LinkCredit: frame.Some(uint32(amqpCredit))}
	return performative(b, w.Append)
}

// amqpDownlink measures receivers of one group, one for each partition.
func amqpDownlink(l *lab) (result, error) {
	s, _, down, err := l.bridge(amqpOnApache)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	g := &subscribers{server: s, failed: make(chan error, 1), some: make(chan struct{}, 1)}
	defer g.close()
	for i := range partitions {
		a, err := attach(s.mqtt, fmt.Sprintf("bench-%d", i), down+"/group.id/bench", frame.Receiver)
		if err != nil {
			return result{}, err
		}
		g.devices = append(g.devices, &a.device)
		g.take(func() error { return a.receiveAll(g.came) })
	}
	return g.fed(l, s, down, 50, 400_000, 1)
}

// amqpAtRest measures the resident memory of connections with one session and one link, a sender.
func amqpAtRest(n int) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, err := l.linkspan(amqpIdle)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		before := s.settledMemory()
		var all []*app
		defer func() {
			for _, a := range all {
				a.close()
			}
		}()
		for i := range n {
			a, err := attach(s.mqtt, fmt.Sprintf("rest-%d", i), "bench", frame.Sender)
			if err != nil {
				return result{}, err
			}
			a.buf, a.in = nil, nil
			all = append(all, a)
		}
		return result{bytesEach: (s.settledMemory() - before) / int64(n)}, nil
	}
}
