package client_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkspan/linkspan"
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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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
	sink  *sink
	log   *lines
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
	r := &run{t: t, sink: newSink(), log: new(lines), ended: make(chan error, 1)}
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

// sink takes custody when it is told to.
type sink struct {
	mu       sync.Mutex
	changed  sync.Cond
	messages []*linkspan.Message
	done     []func(error)
	hold     bool                          // done waits for settle
	answer   func(*linkspan.Message) error // nil: custody
	full     bool                          // no room
}

func newSink() *sink {
	s := new(sink)
	s.changed.L = &s.mu
	return s
}

func (s *sink) Send(_ context.Context, m *linkspan.Message, done func(error)) {
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
	s.changed.Broadcast()
	s.mu.Unlock()
	if done != nil {
		done(err)
	}
}

func (s *sink) Room(*linkspan.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.full
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
	tardy := time.AfterFunc(mqtttest.Patience, func() { panic("the messages do not come") })
	defer tardy.Stop()
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

func payloads(messages []*linkspan.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Payload))
	}
	return strings.Join(all, " ")
}

// got checks the payloads of all messages that have come.
func (s *sink) got(t testing.TB, want string) {
	t.Helper()
	n := len(strings.Fields(want))
	s.wait(n)
	if have := payloads(s.wait(s.count())); have != want {
		t.Fatalf("the sink has %q, want %q", have, want)
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count returns how many lines have all of parts.
func (l *lines) count(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		has := true
		for _, p := range parts {
			has = has && strings.Contains(line, p)
		}
		if has {
			n++
		}
	}
	return n
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

// memory is a State.
type memory struct {
	mu    sync.Mutex
	known client.Subscribed
}

func (m *memory) Load() client.Subscribed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

func (m *memory) Save(known client.Subscribed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = known
}

var errPassing = errors.New("passing")

// resumed is a CONNACK of a broker that has the session.
var resumed = packet.Connack{SessionPresent: true}

var everyVersion = []packet.Version{packet.V31, packet.V311, packet.V5}

// accepts is a server's answer to the key of a WebSocket [RFC 6455, 4.2.2].
func accepts(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
