package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/route"
	"github.com/linkspan/linkspan/spool"
)

// DeadLetterConfig says what becomes of messages that nobody takes and whose sender cannot be told.
type DeadLetterConfig struct {
	// Topic is the Kafka topic for messages that no route or Kafka itself refuses for good and whose sender cannot be told (one
	// with MQTT 3 or QoS 0, a will, a broker, or one that has its acknowledgement from the spool), and for records that no broker
	// takes. They keep their bytes, key and headers, and get headers that tell the reason. While Kafka is away the spool has
	// them. Default linkspan.deadletter.
	Topic string `yaml:"topic"`
}

// Headers that a dead letter has beside its own.
const (
	headerReason    = "linkspan.reason"    // in words
	headerRoute     = "linkspan.route"     // that the message took
	headerEndpoint  = "linkspan.endpoint"  // that it came from or was for
	headerTopic     = "linkspan.topic"     // of MQTT on the way up, of Kafka on the way down
	headerPartition = "linkspan.partition" // of the record; on the way up the one that was asked for, if any
	headerOffset    = "linkspan.offset"
	headerAddress   = "linkspan.address"  // of AMQP, of the receiver that rejected the record
	headerAttempts  = "linkspan.attempts" // how often it was handed over, the last time included
	headerTime      = "linkspan.time"     // when it was given up
	headerSize      = "linkspan.size"     // of the whole payload, where only its head is there
)

// deadHead is how much is kept at most of a payload that is too large for the dead letter topic, too.
const deadHead = 64 << 10

// deadLetters writes to the dead letter topic.
type deadLetters struct {
	topic   string
	to      linkspan.Bounded
	log     *slog.Logger
	counts  map[string]*deadCounts // by endpoint; that of "" is for all others
	flights sync.Pool              // of guards
	told    atomic.Int64           // when a failure was logged last, in seconds
	probe   linkspan.Message       // asks for room; it has a route, so nobody writes to it
}

// newDeadLetters returns dead letters that are counted for each of these endpoints.
func newDeadLetters(topic string, endpoints []string, log *slog.Logger) *deadLetters {
	d := &deadLetters{topic: topic, log: log, counts: map[string]*deadCounts{"": new(deadCounts)}, probe: linkspan.Message{Route: spool.DeadLetters}}
	for _, name := range endpoints {
		d.counts[name] = new(deadCounts)
	}
	return d
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
	{"rejected", amqp.ErrRejected},
	{"undeliverable", group.ErrUndeliverable},
	{"refused", nil},
}

// deadCounts counts dead letters by reason, in the order of deadReasons, and those that the topic did not take.
type deadCounts struct {
	written [len(deadReasons)]atomic.Uint64
	failed  atomic.Uint64
	noted   atomic.Int64 // when they were logged last, in seconds, and
	unnoted atomic.Int64 // how many there were since
}

func (c *deadCounts) add(err error) {
	for i, r := range deadReasons {
		if r.err == nil || errors.Is(err, r.err) {
			c.written[i].Add(1)
			return
		}
	}
}

// of returns the counts of an endpoint.
func (d *deadLetters) of(endpoint string) *deadCounts {
	if c := d.counts[endpoint]; c != nil {
		return c
	}
	return d.counts[""] // a message of the spool may be from one that is no longer configured
}

// room reports whether there is room for a dead letter.
func (d *deadLetters) room() bool { return d.to.Room(&d.probe) }

// bury writes a dead letter of m, a message on the way up that is refused for good after so many attempts, and tells done once the
// topic has it, or the spool for the topic (P2). An error for done says that nobody has it: why itself where the dead letter topic takes none, ever. m is
// borrowed until bury returns.
func (d *deadLetters) bury(ctx context.Context, m *linkspan.Message, why error, attempts int, done func(error)) {
	if m.Route == spool.DeadLetters {
		d.again(ctx, m, why, done)
		return
	}
	l := d.letter(m, why, attempts)
	l.add(headerTopic, m.Topic)
	if m.Record.Partition != linkspan.AnyPartition {
		l.add(headerPartition, strconv.Itoa(int(m.Record.Partition)))
	}
	d.send(ctx, l, done)
}

// buryDown is bury for a record that came down, and was for the endpoint m.Endpoint. Where the dead letter topic does not take it,
// the error is one that has it handed over again. A record that was read from the dead letter topic, by a route of its own,
// stays what it is: another for it would come back in its turn, and so on for ever.
func (d *deadLetters) buryDown(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
	endpoint, address := rejectedBy(why)
	if endpoint != "" {
		m.Endpoint = endpoint
	}
	if m.Record.Topic == d.topic {
		d.of(m.Endpoint).add(why)
		done(nil)
		return
	}
	l := d.letter(m, why, m.Tries+1)
	l.down = true
	l.add(headerTopic, m.Record.Topic)
	l.add(headerPartition, strconv.Itoa(int(m.Record.Partition)))
	l.add(headerOffset, strconv.FormatInt(m.Record.Offset, 10))
	l.add(headerAddress, address)
	d.send(ctx, l, done)
}

// again is bury for a dead letter that the spool took, and Kafka refused afterwards. A smaller one may do; else the spool has to keep it.
func (d *deadLetters) again(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
	l := &letter{m: *m, why: why, down: true}
	l.m.Record.Partition, l.m.Mute = linkspan.AnyPartition, false
	if less := l.smaller(); less != nil && errors.Is(why, linkspan.ErrTooLarge) {
		d.send(ctx, less, done)
		return
	}
	d.failed(l, why, done)
}

// A letter is a dead letter on its way to the topic.
type letter struct {
	m    linkspan.Message
	why  error
	down bool // what it is a letter of is handed over again if the topic does not take it
}

// letter begins a letter of m.
func (d *deadLetters) letter(m *linkspan.Message, why error, attempts int) *letter {
	l := &letter{why: why, m: linkspan.Message{
		Topic: m.Topic, Payload: m.Payload, Endpoint: m.Endpoint, Route: spool.DeadLetters, Received: time.Now(),
		Record: linkspan.Record{Topic: d.topic, Partition: linkspan.AnyPartition, Key: m.Record.Key, Tombstone: m.Record.Tombstone},
	}}
	l.m.Record.Headers = append(make([]linkspan.Header, 0, len(m.Record.Headers)+9), m.Record.Headers...)
	l.add(headerReason, why.Error())
	l.add(headerRoute, m.Route)
	l.add(headerEndpoint, m.Endpoint)
	l.add(headerAttempts, strconv.Itoa(attempts))
	l.add(headerTime, l.m.Received.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	return l
}

func (l *letter) add(header, value string) {
	if value != "" {
		l.m.Record.Headers = append(l.m.Record.Headers, linkspan.Header{Key: header, Value: []byte(value)})
	}
}

// smaller returns what to write instead of a letter that is too large, which borrows nothing: one with less of the payload, or in the end
// without what else it had of its own; nil when there is nothing left to leave out.
func (l *letter) smaller() *letter {
	less, size := *l, len(l.m.Payload)
	switch r := &less.m.Record; {
	case size > 0:
		less.m.Payload = l.m.Payload[:min(deadHead, size/2)]
	case r.Key != nil || slices.ContainsFunc(r.Headers, foreign):
		r.Key, r.Headers = nil, slices.DeleteFunc(slices.Clone(r.Headers), foreign)
	default:
		return nil
	}
	less.m = *less.m.Clone()
	if less.m.Record.Header(headerSize) == nil {
		less.add(headerSize, strconv.Itoa(size))
	}
	return &less
}

// foreign reports whether a header was there before the message became a dead letter.
func foreign(h linkspan.Header) bool { return !strings.HasPrefix(h.Key, "linkspan.") }

// send hands a letter over, and a smaller one if it is too large.
func (d *deadLetters) send(ctx context.Context, l *letter, done func(error)) {
	if !d.to.Room(&l.m) {
		d.failed(l, errNoRoom, done)
		return
	}
	less := l.smaller()
	d.to.Send(ctx, &l.m, func(err error) {
		switch {
		case err == nil:
			c := d.of(l.m.Endpoint)
			c.add(l.why)
			d.note(c, l)
			done(nil)
		case less != nil && errors.Is(err, linkspan.ErrTooLarge):
			d.send(ctx, less, done)
		default:
			d.failed(l, err, done)
		}
	})
}

// note logs that there are dead letters of an endpoint, once a minute at most: nobody else is told. What l borrows is no longer there.
func (d *deadLetters) note(c *deadCounts, l *letter) {
	now, last := time.Now().Unix(), c.noted.Load()
	if n := c.unnoted.Add(1); now-last >= noteEvery && c.noted.CompareAndSwap(last, now) {
		c.unnoted.Add(-n)
		d.log.Warn("dead letters: messages that nobody took, the last of them", "topic", d.topic, "endpoint", l.m.Endpoint, "messages", n, "err", l.why)
	}
}

// noteEvery is that minute, in seconds.
const noteEvery = 60

var errNoRoom = errors.New("there is no room for dead letters")

// failed ends a letter that the topic did not take.
func (d *deadLetters) failed(l *letter, err error, done func(error)) {
	d.of(l.m.Endpoint).failed.Add(1)
	d.tell(l, err)
	if l.down || !linkspan.IsPermanent(err) {
		done(fmt.Errorf("%v; and the dead letter topic: %v", l.why, err)) // not permanent: nobody has it yet
	} else {
		done(l.why)
	}
}

// tell logs that a dead letter could not be written, once a second at most.
func (d *deadLetters) tell(l *letter, err error) {
	now := time.Now().Unix()
	if last := d.told.Load(); last == now || errors.Is(err, linkspan.ErrClosed) || !d.told.CompareAndSwap(last, now) {
		return
	}
	d.log.Error("the dead letter topic takes nothing; what belongs there is held back or refused",
		"topic", d.topic, "endpoint", l.m.Endpoint, "refused", l.why, "err", err)
}
