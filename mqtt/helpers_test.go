package mqtt_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink takes custody when it is told to.
type sink struct {
	mu       sync.Mutex
	changed  sync.Cond
	messages []*linkspan.Message
	done     []func(error)
	hold     bool                          // done waits for settle
	answer   func(*linkspan.Message) error // nil: custody
	full     bool                          // no room
	shut     string                        // the topic for which there is no room; "": none
	direct   linkspan.Sink                 // instead of all this; nil: this
	onward   linkspan.Sink                 // nil: nowhere
	sessions func(*session.Config)         // nil: the defaults
}

func newSink() *sink {
	s := new(sink)
	s.changed.L = &s.mu
	return s
}

func (s *sink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	s.mu.Lock()
	s.messages = append(s.messages, m.Clone())
	var err error
	if s.answer != nil {
		err = s.answer(m)
	}
	if s.hold {
		s.done = append(s.done, done)
		done = nil
	} else {
		s.done = append(s.done, nil)
	}
	onward := s.onward
	s.changed.Broadcast()
	s.mu.Unlock()
	if onward != nil {
		onward.Send(ctx, m, func(error) {})
	}
	if done != nil {
		done(err)
	}
}

func (s *sink) Room(m *linkspan.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.full && (m == nil || s.shut == "" || m.Topic != s.shut)
}

// set changes s.
func (s *sink) set(f func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// wait returns the first n messages when they have come.
func (s *sink) wait(n int) []*linkspan.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.messages) < n {
		s.changed.Wait()
	}
	return slices.Clone(s.messages[:n])
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages)
}

// settle completes message i.
func (s *sink) settle(i int, err error) {
	s.mu.Lock()
	done := s.done[i]
	s.done[i] = nil
	s.mu.Unlock()
	done(err)
}

// bench is a listener with what it needs round it.
type bench struct {
	*mqtt.Listener
	t        testing.TB
	sink     *sink
	registry *session.Registry
	addr     string
	stop     context.CancelFunc
	ended    chan error
}

// start runs a listener until the test ends.
func start(t testing.TB, change ...func(*mqtt.ListenerConfig)) *bench {
	t.Helper()
	return startWith(t, newSink(), change...)
}

func startWith(t testing.TB, s *sink, change ...func(*mqtt.ListenerConfig)) *bench {
	t.Helper()
	cfg := mqtt.DefaultListenerConfig()
	cfg.Name, cfg.URL = "test", "mqtt://127.0.0.1:0"
	for _, f := range change {
		f(&cfg)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	sessions := session.DefaultConfig()
	sessions.Uplink = s
	if s.sessions != nil {
		s.sessions(&sessions)
	}
	b := &bench{t: t, sink: s, registry: session.NewRegistry(sessions, log), ended: make(chan error, 1)}
	var err error
	if b.Listener, err = mqtt.Listen(cfg, b.registry, log); err != nil {
		t.Fatal(err)
	}
	b.addr = b.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	var to linkspan.Sink = s
	if s.direct != nil {
		to = s.direct
	}
	go func() { b.ended <- b.Run(ctx, to) }()
	t.Cleanup(func() {
		b.shutdown()
		if err := b.registry.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// shutdown stops the listener and returns when it has ended. Safe twice.
func (b *bench) shutdown() {
	b.t.Helper()
	b.stop()
	if err, ok := <-b.ended; ok && err != nil {
		b.t.Error(err)
	} else if ok {
		close(b.ended)
	}
}

func (b *bench) dial(v packet.Version) *mqtttest.Client {
	b.t.Helper()
	return mqtttest.Dial(b.t, b.addr, v)
}

// join connects a device.
func (b *bench) join(v packet.Version, id string) *mqtttest.Client {
	b.t.Helper()
	return b.dial(v).Join(id)
}

// send sends a message down to the devices.
func (b *bench) send(m linkspan.Message) {
	b.t.Helper()
	b.registry.Send(context.Background(), &m, func(err error) {
		if err != nil {
			b.t.Errorf("downlink: %v", err)
		}
	})
}

// until waits for a condition that nobody announces.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(mqtttest.Patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}

func publish(qos byte, id uint16, topic, payload string) *packet.Publish {
	return &packet.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
}

func payloads(messages []*linkspan.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Payload))
	}
	return strings.Join(all, " ")
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

// everyVersion runs a test with each version of the protocol.
func everyVersion(t *testing.T, f func(t *testing.T, v packet.Version)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { f(t, v) })
	}
}
