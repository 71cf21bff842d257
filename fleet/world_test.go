package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"pgregory.net/rapid"
)

// A world is Kafka, and a fleet of processes that see each other through it alone. Nothing in it happens by itself: a
// schedule says which record lands in its log, which ack arrives, which process reads on, who dies.
type world struct {
	t       *rapid.T
	cfg     Config
	devices []string
	brokers []string
	topics  []string
	sources []sourceKey
	moves   bool // devices move from broker to broker

	mu        sync.Mutex                       // guards logs, which owners of lanes read meanwhile
	logs      map[string][][]*linkspan.Message // by topic and partition; nil: a gap
	processes []*process
	ghosts    []*process // killed; what they had sent can still land
	feeds     map[sourceKey]*feed
	zombies   []*feed // which do not know that others have their partition
	committed map[sourceKey]int64
	owners    map[int32]*owner
	undead    []*owner
	rough     bool // something was killed, so records may come twice
	seq       map[string]int
	landed    []*linkspan.Message // in all logs but those of the sources, in order
}

const deadTopic = "dead"

// The source topics are named for what becomes of records for unknown devices.
var (
	allTopics  = []string{"park", "flood", "refuse"}
	allBrokers = []string{"plant-a", "plant-b"}
	allDevices = []string{"pump", "valve", "lamp"}
)

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, cfg: DefaultConfig(), logs: map[string][][]*linkspan.Message{}, feeds: map[sourceKey]*feed{},
		committed: map[sourceKey]int64{}, owners: map[int32]*owner{}, seq: map[string]int{},
	}
	w.cfg.Lanes, w.cfg.ParkFor = 2, time.Minute
	for _, topic := range w.cfg.Topics() {
		w.logs[topic.Name] = make([][]*linkspan.Message, topic.Partitions)
	}
	w.logs[deadTopic] = make([][]*linkspan.Message, 1)
	// The less there is, the more often things meet.
	w.devices, w.brokers, w.topics = allDevices[:1+w.pick(3, "devices")], allBrokers[:1+w.pick(2, "brokers")], allTopics[:1+w.pick(3, "topics")]
	w.moves = w.pick(2, "moves") == 0
	for _, topic := range w.topics {
		for partition := range int32(1 + w.pick(2, "partitions")) {
			w.logs[topic] = append(w.logs[topic], nil)
			w.sources = append(w.sources, sourceKey{topic, partition})
		}
	}
	w.start()
	return w
}

func (w *world) pick(n int, what string) int { return rapid.IntRange(0, n-1).Draw(w.t, what) }

func pickOf[T any](w *world, list []T, what string) T { return list[w.pick(len(list), what)] }

// broker returns one where the device may be.
func (w *world) broker(device string) string {
	if w.moves {
		return pickOf(w, w.brokers, "endpoint")
	}
	return w.brokers[int(Lane(device, int32(len(w.brokers))))]
}

// append writes a record to a log.
func (w *world) append(m *linkspan.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	parts := w.logs[m.Record.Topic]
	m.Record.Offset, m.Record.Timestamp = int64(len(parts[m.Record.Partition])), time.Now().Truncate(time.Millisecond)
	parts[m.Record.Partition] = append(parts[m.Record.Partition], m)
}

// produce writes the next record for a device to a source; all of a device and topic are in one partition.
func (w *world) produce(topic, device string) {
	key := sourceKey{topic, Lane(device, int32(len(w.logs[topic])))}
	w.seq[topic+device]++
	w.append(&linkspan.Message{
		Payload: fmt.Appendf(nil, "%s %s %d", topic, device, w.seq[topic+device]),
		Record: linkspan.Record{Topic: key.topic, Partition: key.partition, Key: []byte(device),
			Headers: []linkspan.Header{{Key: headerTo, Value: []byte("not ours")}}},
	})
	if w.pick(8, "gap") == 0 { // where a transaction ended
		w.mu.Lock()
		defer w.mu.Unlock()
		parts := w.logs[key.topic]
		parts[key.partition] = append(parts[key.partition], nil)
	}
}

func (w *world) log(topic string, partition int32) []*linkspan.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs[topic][partition]
}

// locate is what routes would say.
func (w *world) locate(m *linkspan.Message) (Located, bool, error) {
	unknown := map[string]Unknown{"park": Park, "flood": Flood, "refuse": DeadLetter}[m.Record.Topic]
	return Located{Device: string(m.Record.Key), Endpoints: w.brokers, Unknown: unknown}, true, nil
}

// A process is one of the fleet, with its own connection to Kafka and its own view.
type process struct {
	w       *world
	places  *Locations
	parking *Parking
	router  *Router
	read    map[string][]int64 // how far it has followed which log

	mu     sync.Mutex
	dead   bool
	queues map[sourceKey][]*sending // on their way, in the order of Send
	order  []sourceKey              // of queues, so that schedules can be repeated
	landed []*sending               // not acknowledged
}

type sending struct {
	m    *linkspan.Message
	done func(error)
}

// start starts a process, which follows the logs up to where they are before it does anything.
func (w *world) start() *process {
	p := &process{w: w, queues: map[sourceKey][]*sending{}, read: map[string][]int64{}}
	parts := Parts{Locate: w.locate, To: p, Read: p.readAt, Refuse: p.refuse}
	p.places = NewLocations(w.cfg, p, nil)
	p.parking = NewParking(w.cfg, p.places, parts)
	p.router = NewRouter(w.cfg, p.places, p.parking, parts)
	for _, topic := range []string{w.cfg.DevicesTopic(), w.cfg.ParkedTopic()} {
		p.read[topic] = make([]int64, len(w.logs[topic]))
	}
	p.followAll()
	w.processes = append(w.processes, p)
	return p
}

// Send is the producer's.
func (p *process) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	key := sourceKey{m.Record.Topic, m.Record.Partition}
	if _, known := p.queues[key]; !known {
		p.order = append(p.order, key)
	}
	p.queues[key] = append(p.queues[key], &sending{m.Clone(), done})
}

// Room is like a producer's.
func (p *process) Room(*linkspan.Message) bool { return p.unacked() < 20 }

func (p *process) unacked() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.queues {
		n += len(q)
	}
	return n + len(p.landed)
}

func (p *process) refuse(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
	c := m.Clone()
	c.Record.Headers = append(c.Record.Headers, linkspan.Header{Key: "why", Value: []byte(why.Error())})
	c.Record.Topic, c.Record.Partition = deadTopic, 0
	p.Send(ctx, c, done)
}

func (p *process) readAt(_ context.Context, topic string, partition int32, from int64, _ int, visit func(*linkspan.Message)) (int64, error) {
	log := p.w.log(topic, partition)
	for n := 0; from < int64(len(log)) && n < 3; n++ {
		visit(log[from].Clone())
		from++
	}
	return from, nil
}

// known returns the queues that there are.
func (p *process) known() []sourceKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.order)
}

// land has the first n records of a queue land in their log.
func (p *process) land(key sourceKey, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[key]
	n = min(n, len(q))
	for _, s := range q[:n] {
		p.w.append(s.m)
		p.w.landed = append(p.w.landed, s.m)
	}
	p.queues[key], p.landed = q[n:], append(p.landed, q[:n]...)
}

// ack has the first n acknowledgements arrive.
func (p *process) ack(n int) {
	p.mu.Lock()
	n = min(n, len(p.landed))
	arrived := slices.Clone(p.landed[:n])
	p.landed = p.landed[n:]
	p.mu.Unlock()
	for _, s := range arrived {
		s.done(nil)
	}
}

// fail gives back all that is on its way to one partition.
func (p *process) fail(key sourceKey) {
	p.mu.Lock()
	q := p.queues[key]
	p.queues[key] = nil
	p.mu.Unlock()
	for _, s := range q {
		s.done(linkspan.ErrClosed)
	}
}

// follow applies up to n more records of a log.
func (p *process) follow(topic string, partition, n int) {
	log := p.w.logs[topic][partition]
	for at := &p.read[topic][partition]; n > 0 && *at < int64(len(log)); n-- {
		m := log[*at].Clone()
		*at++
		if topic == p.w.cfg.ParkedTopic() {
			p.parking.Apply(m)
		} else {
			p.places.Apply(m)
		}
		scribble(m)
	}
}

// scribble overwrites what a callee may have borrowed for too long.
func scribble(m *linkspan.Message) {
	for _, b := range [][]byte{m.Payload, m.Record.Key} {
		for i := range b {
			b[i] = '!'
		}
	}
	for _, h := range m.Record.Headers {
		for i := range h.Value {
			h.Value[i] = '!'
		}
	}
}

func (p *process) followAll() {
	for topic, parts := range p.read {
		for partition := range parts {
			p.follow(topic, partition, 1<<30)
		}
	}
}

// pump has everything arrive that concerns one process, until cond holds.
func (p *process) pump(cond func() bool) {
	for range 100 {
		synctest.Wait()
		if cond() {
			return
		}
		for _, key := range p.known() {
			p.land(key, 1<<30)
		}
		p.ack(1 << 30)
		p.followAll()
		synctest.Wait()
		if p.unacked() == 0 && !cond() {
			time.Sleep(retryInterval)
		}
	}
	p.w.t.Fatalf("a process does not come to rest: %d unacknowledged", p.unacked())
}

// kill ends a process as it stands.
func (w *world) kill(p *process) {
	w.rough = true
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	w.processes = slices.DeleteFunc(w.processes, func(o *process) bool { return o == p })
	w.ghosts = append(w.ghosts, p)
	for key, f := range w.feeds {
		if f.p == p {
			delete(w.feeds, key)
		}
	}
	w.zombies = slices.DeleteFunc(w.zombies, func(f *feed) bool { return f.p == p })
	for lane, o := range w.owners {
		if o.p == p {
			o.cancel()
			delete(w.owners, lane)
		}
	}
	for _, o := range w.undead {
		if o.p == p {
			o.cancel()
		}
	}
	w.undead = slices.DeleteFunc(w.undead, func(o *owner) bool { return o.p == p })
}

// An owner is a process that does the work of a lane.
type owner struct {
	p      *process
	lane   int32
	cancel context.CancelFunc
	ended  chan struct{}
}

func (w *world) own(p *process, lane int32) {
	for _, o := range w.undead {
		if o.p == p && o.lane == lane {
			o.stop()
		}
	}
	w.undead = slices.DeleteFunc(w.undead, func(o *owner) bool { return o.p == p && o.lane == lane })
	ctx, cancel := context.WithCancel(context.Background())
	o := &owner{p: p, lane: lane, cancel: cancel, ended: make(chan struct{})}
	w.owners[lane] = o
	go func() {
		defer close(o.ended)
		p.parking.Own(ctx, lane)
	}()
}

// stop ends the ownership in order.
func (o *owner) stop() {
	o.cancel()
	o.p.pump(func() bool {
		select {
		case <-o.ended:
			return true
		default:
			return false
		}
	})
}

// A feed is a process's consumer of one source partition, which behaves as kafka.Consumer does: what is given back is
// handed over again before anything newer, and only a settled prefix is committed.
type feed struct {
	p    *process
	key  sourceKey
	next int64
	open []*handed // in order
	away int
	gone bool
}

type handed struct {
	offset       int64
	settled, bad bool
}

func (w *world) assign(p *process, key sourceKey) {
	for _, f := range w.zombies {
		if f.p == p && f.key == key {
			f.gone = true
		}
	}
	w.zombies = slices.DeleteFunc(w.zombies, func(f *feed) bool { return f.gone })
	w.feeds[key] = &feed{p: p, key: key, next: w.committed[key]}
}

// step hands over what can be.
func (f *feed) step() {
	if !f.p.Room(nil) || !f.p.router.Room(nil) {
		return
	}
	if slices.ContainsFunc(f.open, func(h *handed) bool { return h.bad }) {
		if f.away == 0 {
			for _, h := range f.open {
				if h.bad {
					h.bad = false
					f.hand(h)
				}
			}
		}
		return
	}
	log := f.p.w.logs[f.key.topic][f.key.partition]
	for f.next < int64(len(log)) && log[f.next] == nil {
		f.next++
	}
	if f.next < int64(len(log)) && len(f.open) < 10 {
		h := &handed{offset: f.next}
		f.next++
		f.open = append(f.open, h)
		f.hand(h)
	}
}

func (f *feed) hand(h *handed) {
	f.away++
	m := f.p.w.logs[f.key.topic][f.key.partition][h.offset].Clone()
	f.p.router.Send(context.Background(), m, func(err error) {
		if h.settled {
			panic("done twice")
		}
		f.away--
		if err != nil && !linkspan.IsPermanent(err) {
			h.bad = true
			return
		}
		h.settled = true
		if err != nil { // the guard before the router puts it there; that this takes time is of no interest here
			refused := f.p.w.logs[f.key.topic][f.key.partition][h.offset].Clone()
			refused.Record = linkspan.Record{Topic: deadTopic}
			f.p.w.landed = append(f.p.w.landed, refused)
		}
	})
	scribble(m)
}

// commit moves the group's position over what is settled.
func (f *feed) commit() {
	for len(f.open) > 0 && f.open[0].settled {
		f.p.w.committed[f.key] = f.open[0].offset + 1
		f.open = f.open[1:]
	}
}

// revoke ends the feed in order.
func (w *world) revoke(f *feed) {
	f.p.pump(func() bool { return f.away == 0 })
	f.commit()
	delete(w.feeds, f.key)
}
