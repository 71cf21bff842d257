package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A broker is a listening socket; the test says what it answers.
type broker struct {
	t    testing.TB
	ln   net.Listener
	addr string
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	ln, err := net.Listen("tcp", wiretest.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &broker{t, ln, ln.Addr().String()}
}

// A peer is a connection that a client has made to a broker.
type peer struct {
	*mqtttest.Client
	t     testing.TB
	hello packet.Connect
}

// accept waits for the next connection, and reads its CONNECT.
func (b *broker) accept() *peer {
	b.t.Helper()
	_ = b.ln.(*net.TCPListener).SetDeadline(time.Now().Add(mqtttest.Patience))
	nc, err := b.ln.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	p := &peer{Client: mqtttest.New(b.t, nc, packet.V5), t: b.t}
	raw, err := p.Next()
	if err != nil {
		b.t.Fatalf("expecting CONNECT: %v", err)
	}
	if err := p.hello.Decode(raw); err != nil {
		b.t.Fatal(err)
	}
	p.Version = p.hello.Version
	return p
}

// welcome accepts the next connection with that CONNACK.
func (b *broker) welcome(ack packet.Connack) *peer {
	b.t.Helper()
	p := b.accept()
	p.Send(&ack)
	return p
}

// subscribed answers the next SUBSCRIBE, granting everything, and returns it.
func (p *peer) subscribed(reasons ...packet.Reason) packet.Subscribe {
	p.t.Helper()
	var s packet.Subscribe
	p.Expect(packet.SUBSCRIBE, &s)
	ack := packet.Suback{PacketID: s.PacketID, Reasons: reasons}
	if len(reasons) == 0 {
		for _, f := range s.Filters {
			ack.Reasons = append(ack.Reasons, packet.Reason(f.QoS))
		}
	}
	p.Send(&ack)
	return s
}

// expect reads the next PUBLISH, which must have that payload.
func (p *peer) expect(payload string) packet.Publish {
	p.t.Helper()
	var m packet.Publish
	p.Expect(packet.PUBLISH, &m)
	if string(m.Payload) != payload {
		p.t.Fatalf("got %q, expected %q", m.Payload, payload)
	}
	return m
}

// next reads the next packet.
func (p *peer) next() packet.Raw {
	p.t.Helper()
	raw, err := p.Next()
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// quiet checks that nothing has been sent to p: what a PUBREL of an unknown message is answered with comes next.
func (p *peer) quiet() {
	p.t.Helper()
	p.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 65000})
	var a packet.Ack
	p.Expect(packet.PUBCOMP, &a)
	if a.PacketID != 65000 {
		p.t.Fatalf("PUBCOMP for %d", a.PacketID)
	}
}

func puback(id uint16) *packet.Ack { return &packet.Ack{Type: packet.PUBACK, PacketID: id} }

func publish(qos byte, id uint16, topic, payload string) *packet.Publish {
	return &packet.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
}

func dup(p *packet.Publish) *packet.Publish {
	p.Dup = true
	return p
}

// A run is a client that runs.
type run struct {
	*client.Client
	t     testing.TB
	sink  *mqtttest.Sink
	log   *mqtttest.Log
	stop  context.CancelFunc
	ended chan error
}

type option func(*setup)

type setup struct {
	cfg     client.Config
	filters []string
	state   client.State
	sink    linkspan.Sink
	quiet   time.Duration
}

func filters(f ...string) option           { return func(s *setup) { s.filters = f } }
func state(st client.State) option         { return func(s *setup) { s.state = st } }
func config(f func(*client.Config)) option { return func(s *setup) { f(&s.cfg) } }
func version(v string) option              { return config(func(c *client.Config) { c.Version = v }) }

// start runs a client of that address until the test ends.
func start(t testing.TB, url string, options ...option) *run {
	t.Helper()
	s := setup{cfg: client.DefaultConfig(), quiet: 20 * time.Millisecond}
	s.cfg.Name, s.cfg.ClientID, s.cfg.Dial = "plant", "linkspan-plant", []string{url}
	s.cfg.Reconnect = client.Reconnect{Min: time.Millisecond, Max: 10 * time.Millisecond}
	s.cfg.ConnectTimeout, s.cfg.AckTimeout = mqtttest.Patience, mqtttest.Patience
	for _, o := range options {
		o(&s)
	}
	if err := s.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, sink: mqtttest.NewSink(), log: new(mqtttest.Log), ended: make(chan error, 1)}
	r.Client = client.New(s.cfg, s.filters, s.state, slog.New(slog.NewTextHandler(r.log, nil)))
	r.SetPatience(s.quiet)
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	to := s.sink
	if to == nil {
		to = r.sink
	}
	go func() { r.ended <- r.Run(ctx, to) }()
	t.Cleanup(r.shutdown)
	return r
}

// joined runs a client of a broker, connected and subscribed to the topic a.
func joined(t testing.TB, options ...option) (*broker, *run, *peer) {
	t.Helper()
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, append([]option{filters("a")}, options...)...)
	p := b.welcome(packet.Connack{})
	p.subscribed()
	return b, r, p
}

// shutdown ends the client, and returns when it has ended. Safe twice.
func (r *run) shutdown() {
	r.t.Helper()
	r.stop()
	if err, ok := <-r.ended; ok {
		if err != nil {
			r.t.Error(err)
		}
		close(r.ended)
	}
}

// send sends a message down, and returns where its outcome comes.
func (r *run) send(m linkspan.Message) chan error {
	out := make(chan error, 2)
	r.Send(context.Background(), &m, func(err error) { out <- err })
	return out
}

func down(qos byte, topic, payload string) linkspan.Message {
	return linkspan.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
}

// outcome waits for what done was called with.
func outcome(t testing.TB, c chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(mqtttest.Patience):
		t.Fatal("the message is not done")
		return nil
	}
}

func delivered(t testing.TB, c chan error) {
	t.Helper()
	if err := outcome(t, c); err != nil {
		t.Fatalf("not delivered: %v", err)
	}
}

// pending checks that a message is not done.
func pending(t testing.TB, c chan error) {
	t.Helper()
	select {
	case err := <-c:
		t.Fatalf("done too early: %v", err)
	default:
	}
}

// memory is a State.
type memory struct {
	mu    sync.Mutex
	known client.Subscribed
	full  bool // nothing can be saved
}

func (m *memory) Load() client.Subscribed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

func (m *memory) Save(known client.Subscribed) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return errPassing
	}
	m.known = known
	return nil
}

func (m *memory) setFull(full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = full
}

var errPassing = errors.New("passing")

// resumed is a CONNACK of a broker that has the session.
var resumed = packet.Connack{SessionPresent: true}

var everyVersion = []packet.Version{packet.V31, packet.V311, packet.V5}

// upgraded answers the request for a WebSocket.
func upgraded(t testing.TB, nc net.Conn) {
	t.Helper()
	if _, err := (ws.Upgrader{Protocol: func([]byte) bool { return true }}).Upgrade(nc); err != nil {
		t.Fatal(err)
	}
}
