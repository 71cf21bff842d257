package outage

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/session"
	"github.com/linkspan/linkspan/spool"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
	"github.com/twmb/franz-go/pkg/kfake"
)

// A process is one life of Linkspan: what bridge makes of the parts that messages pass on their way up.
type process struct {
	w      *world
	line   *line
	client *kafka.Client
	spool  *spool.Spool
	door   kfake.VirtualNetwork // where devices come in
	sends  atomic.Int64         // messages that are not done

	cancel context.CancelFunc // of the spool
	leave  context.CancelFunc // of the listener
	left   chan struct{}      // closed when the listener has ended
	ended  chan struct{}      // closed when nothing of it runs any more

	finish func() // takes the network away, once

	mu      sync.Mutex
	closing bool
	dead    bool
	calls   []*call // all that there were
}

// address is where a process listens, each on a network of its own.
const address = "127.0.0.1:1883"

// start starts a process, and fails where a process would end with an error.
func (w *world) start() error {
	p := &process{w: w, line: w.network.line(), left: make(chan struct{}), ended: make(chan struct{})}
	p.finish = sync.OnceFunc(func() {
		p.line.sever()
		w.account(p)
	})
	cfg := w.s.kafka
	cfg.Brokers, cfg.Dial = w.addrs, p.line.dial
	var err error
	if p.client, err = kafka.New(cfg, w.log); err != nil {
		return err
	}
	parts := spool.Parts{
		To: tap{p, p.client.Producer()}, DrainBytes: w.s.drainBytes, Connected: p.client.Connected, Bury: p.bury, OS: w.drive(),
	}
	if p.spool, err = spool.Open(w.s.spool, w.lanes(), parts, w.log); err != nil {
		p.client.Close()
		return err
	}
	p.spool.Hold(true)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	var runs sync.WaitGroup
	runs.Go(p.listen())
	runs.Go(func() {
		if err := p.spool.Run(ctx); err != nil {
			w.tell("the spool ends with %v", err)
			if p.alive() && !w.spoiled() {
				w.failf("nothing is wrong with the disk, and the spool ends with %v", err)
			}
		}
	})
	runs.Go(func() {
		if p.client.Ping(ctx) == nil && p.warm(ctx) {
			p.spool.Hold(false)
		}
	})
	go func() {
		runs.Wait()
		close(p.ended)
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.process = p
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// listen makes the listener, and returns what runs it.
func (p *process) listen() (run func()) {
	w := p.w
	cfg := mqtt.DefaultListenerConfig()
	cfg.Name, cfg.URL, cfg.Listen = "devices", "mqtt://"+address, p.door.Listen
	cfg.DrainTimeout = time.Second
	registry := session.NewRegistry(session.DefaultConfig(), w.log)
	l, err := mqtt.Listen(cfg, registry, w.log)
	if err != nil {
		panic(err)
	}
	ctx, leave := context.WithCancel(context.Background())
	p.leave = leave
	return func() {
		defer close(p.left)
		if err := l.Run(ctx, gate{p}); err != nil {
			w.failf("the listener ends with %v", err)
		}
		_ = registry.Close(context.Background())
	}
}

// admit reports whether a device may call, and notes that it did.
func (p *process) admit(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.calls = append(p.calls, c)
	return true
}

// hangUp ends all calls.
func (p *process) hangUp() {
	p.mu.Lock()
	calls := slices.Clone(p.calls)
	p.mu.Unlock()
	for _, c := range calls {
		c.hangUp()
	}
}

// warm has the Kafka client get its producer id. It asks for that with a lock held that whoever writes to another broker waits
// for, and while a goroutine waits for a lock no virtual time passes. Where there is one broker nobody else waits.
func (p *process) warm(ctx context.Context) bool {
	if p.w.s.brokers == 1 {
		return true
	}
	warm := make(chan error, 1)
	m := &linkspan.Message{Record: linkspan.Record{Topic: warmTopic, Partition: linkspan.AnyPartition}}
	p.client.Producer().Send(ctx, m, func(err error) { warm <- err })
	select {
	case err := <-warm:
		return err == nil
	case <-ctx.Done():
		return false
	}
}

func (w *world) lanes() []spool.Lane {
	return append(append([]spool.Lane(nil), w.s.lanes...), spool.Lane{Name: spool.DeadLetters})
}

// alive reports whether anybody hears what p says.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead
}

// accepts reports whether devices may send to p.
func (p *process) accepts() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closing
}

// close lets no device in any more. It returns false where somebody else has done so.
func (p *process) close(dead bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = p.dead || dead
	if p.closing {
		return false
	}
	p.closing = true
	return true
}

// kill ends p as it stands. What it does after that nobody sees.
func (p *process) kill(left func(*world, *journaltest.Disk) *journaltest.Disk) {
	p.close(true)
	p.hangUp()
	p.w.crash(left)
	p.finish()
	p.leave()
	p.cancel()
	p.client.Close()
	p.await()
	p.w.end(p)
}

// stop ends p in order, as bridge does: the listeners first, then the spool, then the producer. A kill may come in between.
func (p *process) stop() {
	if !p.close(false) {
		return
	}
	p.leave()
	<-p.left
	began := time.Now()
	p.cancel()
	p.await()
	late := time.Since(began) >= p.w.s.spool.Drain.Timeout // what is answered from then on, nobody notes
	if left := p.client.Producer().Stats().InFlight.Load(); p.alive() && (left > 0 || late || p.w.spoiled()) {
		p.w.tell("stopped with %d records on the way, or without positions on the disk", left)
		p.w.blur()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.client.Producer().Drain(ctx)
	p.client.Close()
	p.wait(time.Second)
	if p.alive() {
		if n := p.sends.Load(); n != 0 {
			p.w.failf("%d messages are not done after a stop", n)
		}
	}
	p.close(true)
	p.finish()
	p.w.end(p)
}

// wait waits until all that was sent is done, at most for d.
func (p *process) wait(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && p.sends.Load() > 0 && p.alive(); {
		pass(10 * time.Millisecond)
	}
}

// await waits until nothing of p runs any more.
func (p *process) await() {
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.w.hang("the spool does not end")
	}
}

// A tap sees what passes between the spool and the producer.
type tap struct {
	p *process
	*kafka.Producer
}

func (t tap) Send(ctx context.Context, m *linkspan.Message, done func(error)) { t.Keep(ctx, m, done) }

func (t tap) Keep(ctx context.Context, m *linkspan.Message, done func(error)) linkspan.Kept {
	w := t.p.w
	name := identity(m.Payload)
	w.tell("%s to Kafka", name)
	kept := t.Producer.Keep(ctx, m, func(err error) {
		w.tell("%s from Kafka: %v", name, err)
		done(err)
	})
	// Devices ask for room one beside the other, and the drain has bounds of its own (P6).
	most := w.s.kafka.Producer.MaxBufferedBytes + int64(len(w.s.devices)+1)*(maxMessage+2<<10) + w.s.drainBytes
	if n := t.Stats().InFlightBytes.Load(); n > most {
		w.failf("%d bytes are in flight, %d at most", n, most)
	}
	return kept
}

// bury is what bridge makes of it, but that a letter has the head of its payload alone.
func (p *process) bury(ctx context.Context, m *linkspan.Message, why error, _ int, done func(error)) {
	name := identity(m.Payload)
	p.w.tell("%s buried: %v", name, why)
	letter := &linkspan.Message{
		Topic: m.Topic, Payload: []byte(name + " "), Endpoint: m.Endpoint, Received: m.Received, Route: spool.DeadLetters,
		Record: linkspan.Record{
			Topic: deadTopic, Partition: linkspan.AnyPartition, Key: m.Record.Key,
			Headers: append(m.Record.Headers[:len(m.Record.Headers):len(m.Record.Headers)], linkspan.Header{Key: "why", Value: []byte(why.Error())}),
		},
	}
	p.spool.Send(ctx, letter, done)
}
