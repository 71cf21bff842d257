package amqp_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/session"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// A berth is a listener that runs, between a Kafka in memory and the sink of a test.
type berth struct {
	*amqp.Listener
	t      *testing.T
	kafka  *memory
	groups *group.Registry
	live   *session.Registry
	stop   func()     // ends Run and waits for it; safe to call again
	wires  []net.Conn // of clients that are wired
}

// A setup is what a test wants of a listener; the zero value is all defaults, with the sink in front of Kafka.
type setup struct {
	change func(*amqp.ListenerConfig)
	topics map[string]int
	sink   linkspan.Sink
	groups group.Options
}

// routes are those of the tests: addresses under live/ are of MQTT.
type routes struct{}

func (routes) CodecUp(_, address string) string {
	if name, ok := strings.CutPrefix(address, "codec/"); ok {
		return name
	}
	return ""
}
func (routes) CodecDown(string) string          { return "" }
func (routes) Live(address string) bool         { return strings.HasPrefix(address, "live/") }
func (routes) Restore(*linkspan.Message) uint64 { return 0 }

// run starts a listener, which ends with the test.
func run(t *testing.T, s setup) *berth {
	t.Helper()
	if s.topics == nil {
		s.topics = map[string]int{"t": 1}
	}
	b := &berth{t: t, kafka: newMemory(s.topics)}
	b.groups = group.New(b.kafka, s.groups, quiet)
	b.live = session.NewRegistry(session.DefaultConfig(), quiet)
	cfg := amqp.DefaultListenerConfig()
	cfg.URL = "amqp://127.0.0.1:0"
	cfg.ConnectTimeout, cfg.WriteTimeout, cfg.DrainTimeout = amqptest.Patience, amqptest.Patience, amqptest.Patience
	if s.change != nil {
		s.change(&cfg)
	}
	if s.sink == nil {
		s.sink = b.kafka
	}
	l, err := amqp.Listen(cfg, amqp.Parts{Groups: b.groups, Live: b.live, Routes: routes{}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	b.Listener = l
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx, s.sink); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	reading, end := context.WithCancel(context.Background())
	var groups sync.WaitGroup
	groups.Go(func() { _ = b.groups.Run(reading) })
	b.stop = func() {
		cancel()
		running.Wait()
		end()
		groups.Wait()
		_ = b.live.Close(context.Background())
	}
	t.Cleanup(func() {
		if h, ok := s.sink.(*held); ok {
			h.letGo()
		}
		b.stop()
	})
	return b
}

// dial connects a client.
func (b *berth) dial() *amqptest.Client {
	b.t.Helper()
	return amqptest.Dial(b.t, b.Addr().String())
}

// until waits for something that has to come.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(amqptest.Patience); !ok(); <-tick.C {
		if time.Now().After(late) {
			t.Fatalf("never: %s", what)
		}
	}
}

// data is an encoded message with a body of bytes.
func data(payload string) []byte { return frame.AppendData(nil, []byte(payload)) }

// to is data with an address of its own.
func to(address, payload string) []byte {
	p := frame.Properties{Present: true, To: frame.Some(address)}
	return frame.AppendData(p.Append(nil), []byte(payload))
}

// body returns what data has made a message of.
func body(t testing.TB, payload []byte) string {
	t.Helper()
	var m frame.Message
	if err := m.Decode(payload); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, s := range m.Body {
		all = append(all, s.Data()...)
	}
	return string(all)
}

// A held sink keeps what it is sent until the test says what becomes of it.
type held struct {
	mu       sync.Mutex
	messages []*linkspan.Message
	dones    []func(error)
	full     bool   // there is no room
	shut     string // there is none for this topic
	gone     bool   // messages are settled at once
}

var _ linkspan.Bounded = (*held)(nil)

func (h *held) Room(m *linkspan.Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.full && (m == nil || h.shut == "" || m.Topic != h.shut)
}

func (h *held) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	h.mu.Lock()
	gone := h.gone
	if !gone {
		h.messages, h.dones = append(h.messages, m.Clone()), append(h.dones, done)
	}
	h.mu.Unlock()
	if gone {
		done(nil)
	}
}

// letGo settles what there is, and what comes.
func (h *held) letGo() {
	h.mu.Lock()
	h.gone, h.full = true, false
	h.mu.Unlock()
	h.all(nil)
}

func (h *held) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.messages)
}

func (h *held) fill(full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.full = full
}

// finish settles message i.
func (h *held) finish(i int, err error) {
	h.mu.Lock()
	done := h.dones[i]
	h.dones[i] = func(error) {}
	h.mu.Unlock()
	done(err)
}

// all settles all messages that there are, in the order in which they came.
func (h *held) all(err error) {
	for i := range h.len() {
		h.finish(i, err)
	}
}

func (h *held) payloads() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.messages {
		all = append(all, string(m.Payload))
	}
	return all
}

func (h *held) message(i int) *linkspan.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.messages[i]
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}
