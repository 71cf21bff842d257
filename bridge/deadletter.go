package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/route"
)

// DeadLetterConfig says what becomes of messages that a client endpoint can neither deliver nor give back.
type DeadLetterConfig struct {
	// Topic is the Kafka topic for messages out of a broker that Kafka refuses for good, and for records that a broker
	// refuses for good. They keep their bytes, key and headers, and get headers that tell the reason. Default
	// linkspan.deadletter.
	Topic string `yaml:"topic"`
}

// Headers that a dead letter has beside its own.
const (
	headerReason    = "linkspan.reason"    // in words
	headerRoute     = "linkspan.route"     // that the message took
	headerEndpoint  = "linkspan.endpoint"  // that it came from or was for
	headerTopic     = "linkspan.topic"     // of MQTT on the way up, of Kafka on the way down
	headerPartition = "linkspan.partition" // of the record, on the way down
	headerOffset    = "linkspan.offset"
	headerSize      = "linkspan.size" // of the whole payload, where only its head is there
)

// deadHead is how much is kept of a payload that is too large for the dead letter topic, too.
const deadHead = 64 << 10

// deadLetters writes to the dead letter topic.
type deadLetters struct {
	topic   string
	to      linkspan.Sink
	log     *slog.Logger
	flights sync.Pool
	told    atomic.Int64 // when a failure was logged last, in seconds
}

// deadReasons are the reasons as metrics have them, with the errors that mean them. What is none of these is refused.
var deadReasons = [...]struct {
	label string
	err   error
}{
	{"no_route", linkspan.ErrNoRoute},
	{"too_many_topics", linkspan.ErrTooManyTopics},
	{"invalid_topic", linkspan.ErrInvalidTopic},
	{"loop", linkspan.ErrLoop},
	{"too_large", linkspan.ErrTooLarge},
	{"not_authorized", linkspan.ErrNotAuthorized},
	{"no_device", route.ErrNoDevice},
	{"unknown_device", fleet.ErrUnknownDevice},
	{"parked_too_long", fleet.ErrParkedTooLong},
	{"parked_full", fleet.ErrParkedFull},
	{"on_listener", fleet.ErrOnListener},
	{"not_located", fleet.ErrNotLocated},
	{"refused", nil},
}

// deadCounts counts dead letters by reason, in the order of deadReasons, and those that the topic did not take.
type deadCounts struct {
	written [len(deadReasons)]atomic.Uint64
	failed  atomic.Uint64
}

func (c *deadCounts) add(err error) {
	for i, r := range deadReasons {
		if r.err == nil || errors.Is(err, r.err) {
			c.written[i].Add(1)
			return
		}
	}
}

// A guard stands before a sink: what that refuses for good goes to the dead letter topic, and counts as taken when it is
// there (P2). All else is as the sink says.
//
// Where the dead letter topic fails too, the message stays with its sender. On the way down it is then handed over again and
// again, and holds up its partition, rather than be lost.
type guard struct {
	dead     *deadLetters
	to       linkspan.Bounded
	endpoint string
	down     bool
	counts   *deadCounts
}

var _ linkspan.Bounded = (*guard)(nil)

// Room reports whether there is room behind the guard.
func (g *guard) Room(m *linkspan.Message) bool { return g.to.Room(m) }

// Send passes m on. What is kept of it for the case of a refusal is a copy in memory that is used again and again.
func (g *guard) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	f := g.flight(ctx, done)
	g.to.Send(ctx, m, f.settle)
	f.sent(m)
}

// Refuse puts m into the dead letter topic. It is used as Send is.
func (g *guard) Refuse(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
	f := g.flight(ctx, done)
	f.settled(why)
	f.sent(m)
}

func (g *guard) flight(ctx context.Context, done func(error)) *deadFlight {
	f, _ := g.dead.flights.Get().(*deadFlight)
	if f == nil {
		f = new(deadFlight)
		f.settle = f.settled
	}
	f.guard, f.ctx, f.done = g, ctx, done
	return f
}

// deadFlight is a message between its Send and its done. Send's goroutine owns the copy until the state is kept, then whoever
// settles does.
type deadFlight struct {
	guard  *guard
	ctx    context.Context
	done   func(error)
	settle func(error) // f.settled, bound once for the flight's many lives
	state  atomic.Int32
	why    error // refused for good with

	buf     []byte // holds all that follows
	payload []byte
	key     []byte
	headers []linkspan.Header
	topic   []byte
	route   string
	at      linkspan.Record // of a record that came down: topic, partition, offset
	cut     bool            // only the head is sent
}

const (
	flying  int32 = iota // Send has not returned, not settled
	kept                 // Send has returned, the copy is there, not settled
	refused              // refused for good before Send has returned
	over                 // settled, and no copy is needed
)

// settled is the done of the sink behind.
func (f *deadFlight) settled(err error) {
	if !linkspan.IsPermanent(err) {
		f.done(err)
		if f.state.Swap(over) == kept {
			f.release()
		}
		return
	}
	f.why = err
	if !f.state.CompareAndSwap(flying, refused) {
		f.bury()
	}
}

// sent makes the copy, unless the message is settled already.
func (f *deadFlight) sent(m *linkspan.Message) {
	if f.state.Load() == over {
		f.release()
		return
	}
	f.keep(m)
	switch {
	case f.state.CompareAndSwap(flying, kept):
	case f.state.Load() == refused:
		f.bury()
	default:
		f.release()
	}
}

// release gives the flight back for another message.
func (f *deadFlight) release() {
	if cap(f.buf) > deadHead {
		f.buf = nil // few are so large
	}
	dead := f.guard.dead
	*f = deadFlight{settle: f.settle, buf: f.buf[:0], headers: f.headers[:0]}
	dead.flights.Put(f)
}

// keep copies what a dead letter is made of.
func (f *deadFlight) keep(m *linkspan.Message) {
	size := len(m.Payload) + len(m.Record.Key) + len(m.Topic)
	for _, h := range m.Record.Headers {
		size += len(h.Value)
	}
	if cap(f.buf) < size {
		f.buf = make([]byte, 0, size)
	}
	f.payload, f.key = f.copy(m.Payload), f.copy(m.Record.Key)
	f.topic = append(f.buf[len(f.buf):], m.Topic...)
	f.buf = f.buf[:len(f.buf)+len(m.Topic)]
	for _, h := range m.Record.Headers {
		f.headers = append(f.headers, linkspan.Header{Key: h.Key, Value: f.copy(h.Value)})
	}
	f.route = m.Route
	f.at = linkspan.Record{Topic: m.Record.Topic, Partition: m.Record.Partition, Offset: m.Record.Offset, Tombstone: m.Record.Tombstone}
}

// copy returns a copy of b in the buffer, which has room for it; nil stays nil.
func (f *deadFlight) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	from := len(f.buf)
	f.buf = append(f.buf, b...)
	return f.buf[from:len(f.buf):len(f.buf)]
}

// bury writes the dead letter. One that was read back from the dead letter topic, by a route of its own, stays what it is:
// another for it would come back in its turn, and so on for ever.
func (f *deadFlight) bury() {
	if f.guard.down && f.at.Topic == f.guard.dead.topic {
		f.guard.counts.add(f.why)
		f.done(nil)
		f.release()
		return
	}
	m := linkspan.Message{Payload: f.payload, Record: linkspan.Record{
		Topic: f.guard.dead.topic, Partition: linkspan.AnyPartition, Key: f.key, Tombstone: f.at.Tombstone,
	}}
	m.Record.Headers = append(m.Record.Headers, f.headers...)
	add := func(key, value string) {
		if value != "" {
			m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: key, Value: []byte(value)})
		}
	}
	add(headerReason, f.why.Error())
	add(headerRoute, f.route)
	add(headerEndpoint, f.guard.endpoint)
	if f.guard.down {
		add(headerTopic, f.at.Topic)
		add(headerPartition, strconv.Itoa(int(f.at.Partition)))
		add(headerOffset, strconv.FormatInt(f.at.Offset, 10))
	} else {
		add(headerTopic, string(f.topic))
	}
	if f.cut {
		m.Payload = m.Payload[:min(len(m.Payload), deadHead)]
		add(headerSize, strconv.Itoa(len(f.payload)))
	}
	f.guard.dead.to.Send(f.ctx, &m, f.buried)
}

// buried is the done of the dead letter topic.
func (f *deadFlight) buried(err error) {
	g := f.guard
	switch {
	case err == nil:
		g.counts.add(f.why)
		f.done(nil)
	case errors.Is(err, linkspan.ErrTooLarge) && !f.cut && len(f.payload) > deadHead:
		f.cut = true
		f.bury()
		return
	default:
		g.counts.failed.Add(1)
		g.dead.tell(f, err)
		if g.down || !linkspan.IsPermanent(err) {
			f.done(fmt.Errorf("%v; and the dead letter topic: %v", f.why, err)) // not permanent: nobody has it yet
		} else {
			f.done(f.why)
		}
	}
	f.release()
}

// tell logs that a dead letter could not be written, once a second at most.
func (d *deadLetters) tell(f *deadFlight, err error) {
	now := time.Now().Unix()
	if last := d.told.Load(); last == now || !d.told.CompareAndSwap(last, now) || errors.Is(err, linkspan.ErrClosed) {
		return
	}
	d.log.Error("the dead letter topic takes nothing; what belongs there is held back or refused",
		"topic", d.topic, "endpoint", f.guard.endpoint, "refused", f.why, "err", err)
}
