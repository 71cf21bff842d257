package mqtt_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a sink with what belongs to the listener's side of it.
type sink struct {
	*mqtttest.Sink
	direct   linkspan.Sink         // takes the messages in its place; nil: it does
	sessions func(*session.Config) // nil: the defaults
}

func newSink() *sink { return &sink{Sink: mqtttest.NewSink()} }

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
	cfg.ConnectTimeout, cfg.WriteTimeout, cfg.DrainTimeout = mqtttest.Patience, mqtttest.Patience, mqtttest.Patience
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

func publish(qos byte, id uint16, topic, payload string) *packet.Publish {
	return &packet.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

// everyVersion runs a test with each version of the protocol.
func everyVersion(t *testing.T, f func(t *testing.T, v packet.Version)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { f(t, v) })
	}
}
