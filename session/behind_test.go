package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// kafkaLog is a Replayer over records in memory.
type kafkaLog struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	records map[place][]*linkspan.Message
	start   int64                        // offsets before it are gone
	fail    func() error                 // nil: never
	took    func(*linkspan.Message) bool // which records a route takes; nil: all
	reads   int
}

var errBrokerAway = errors.New("broker away")

// add appends a record and leaves gap offsets out before it.
func (k *kafkaLog) add(p place, gap int64, m *linkspan.Message) *linkspan.Message {
	k.mu.Lock()
	defer k.mu.Unlock()
	m.Record.Topic, m.Record.Partition, m.Record.Offset = p.topic, p.partition, gap
	if before := k.records[p]; len(before) > 0 {
		m.Record.Offset += before[len(before)-1].Record.Offset + 1
	}
	k.records[p] = append(k.records[p], m)
	return m
}

func (k *kafkaLog) Replay(ctx context.Context, topic string, partition int32, from int64, visit func(*linkspan.Message)) (int64, error) {
	k.mu.Lock()
	k.reads++
	if from < k.start {
		k.mu.Unlock()
		return 0, linkspan.Permanent(errors.New("offset out of range"))
	}
	var err error
	if k.fail != nil {
		err = k.fail()
	}
	all := k.records[place{topic, partition}]
	i, _ := slices.BinarySearchFunc(all, from, func(m *linkspan.Message, o int64) int { return int(m.Record.Offset - o) })
	i = max(0, i-k.rnd.IntN(3)) // a batch of Kafka may begin before the offset that was asked for
	batch := all[i:min(len(all), i+3+k.rnd.IntN(20))]
	pause := time.Duration(k.rnd.IntN(3)) * time.Millisecond
	broken := k.rnd.IntN(len(batch) + 1)
	k.mu.Unlock()
	next := from
	for i, m := range batch {
		if err != nil && i == broken {
			break
		}
		sleep(ctx, pause) // meanwhile the live path goes on
		next = max(next, m.Record.Offset+1)
		if k.took == nil || k.took(m) {
			visit(m)
		}
	}
	return next, err
}

func newLog(seed uint64) *kafkaLog {
	return &kafkaLog{rnd: rand.New(rand.NewPCG(seed, 3)), records: make(map[place][]*linkspan.Message)}
}

// A schedule is a random life of some sessions with devices that stall, and of a Kafka that fails now and then, with
// what each of them must get.
type schedule struct {
	t       *testing.T
	rnd     *rand.Rand
	log     *kafkaLog
	r       *Registry
	devices []*device
	filters []map[string]linkspan.QoS // of each device
	want    []map[place][]delivery
	zeros   int // QoS 0 deliveries in want
}

const maxQueuedInSchedule = 8

func (c *schedule) subscribe(i int) {
	filter := []string{"#", "a/+", "a/1", "b/#", "+/2"}[c.rnd.IntN(5)]
	if _, have := c.filters[i][filter]; have {
		return
	}
	qos := linkspan.QoS(c.rnd.IntN(3))
	c.filters[i][filter] = qos
	c.devices[i].subscribe(Subscription{Filter: filter, QoS: qos})
}

// send appends a record, or takes one that is there already, and sends it as the live path would.
func (c *schedule) send(m *linkspan.Message) {
	for i := range c.devices {
		matched, qos := false, linkspan.QoS(0)
		for filter, q := range c.filters[i] {
			if matches(filter, m.Topic) {
				matched, qos = true, max(qos, min(q, m.QoS))
			}
		}
		if matched {
			p := placeOf(m)
			c.want[i][p] = append(c.want[i][p], delivery{topic: m.Topic, payload: string(m.Payload), qos: qos, place: p, offset: m.Record.Offset})
			if qos == 0 {
				c.zeros++
			}
		}
	}
	c.r.Send(c.t.Context(), m, func(error) {})
}

// live acts as the device: it stalls, takes and acknowledges, in any order, until ctx ends; then it stalls no more.
func (c *schedule) live(ctx context.Context, end context.Context, d *device, rnd *rand.Rand) {
	for end.Err() == nil {
		pause := time.Duration(rnd.IntN(20)) * time.Millisecond
		if ctx.Err() == nil && rnd.IntN(20) == 0 {
			pause = time.Duration(rnd.IntN(3000)) * time.Millisecond
		}
		sleep(end, pause)
		d.makeRoom(1 + rnd.IntN(10))
		for n := rnd.IntN(10); n > 0 && d.inFlight() > 0; n-- {
			d.ack(c.t, rnd.IntN(d.inFlight()))
		}
		d.session.mu.Lock()
		if f := d.session.flow; f != nil && (f.queue.messages > maxQueuedInSchedule || len(f.sent) > int(d.session.window)) {
			c.t.Errorf("%d queued, %d in flight of %d (P6)", f.queue.messages, len(f.sent), d.session.window)
		}
		d.session.mu.Unlock()
	}
}

func (c *schedule) run(seed uint64) {
	places := []place{{"one", 0}, {"one", 1}, {"two", 0}}
	c.log.fail = func() error {
		if c.log.rnd.IntN(10) == 0 {
			return errBrokerAway
		}
		return nil
	}
	c.log.took = func(m *linkspan.Message) bool { return m.Topic != "" }
	ctx, calm := context.WithCancel(c.t.Context())
	end, stop := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	for i := range 5 {
		d := connect(c.r, fmt.Sprint(i), func(q *ConnectRequest) { q.ReceiveMaximum = uint16(1 + c.rnd.IntN(8)) })
		c.devices, c.want = append(c.devices, d), append(c.want, make(map[place][]delivery))
		c.filters = append(c.filters, make(map[string]linkspan.QoS))
		c.subscribe(i)
		wg.Go(func() { c.live(ctx, end, d, rand.New(rand.NewPCG(seed, uint64(i)+10))) })
	}
	var ahead []*linkspan.Message // in Kafka, not yet on the live path
	for n := range 600 {
		m := message(fmt.Sprintf("%c/%d", 'a'+rune(c.rnd.IntN(2)), c.rnd.IntN(4)), fmt.Sprint(n), linkspan.QoS(c.rnd.IntN(3)))
		if c.rnd.IntN(10) == 0 {
			m.Topic = "" // no route takes it
		}
		ahead = append(ahead, c.log.add(places[c.rnd.IntN(len(places))], int64(max(0, c.rnd.IntN(8)-5)), m))
		for behind := c.rnd.IntN(40); len(ahead) > behind; ahead = ahead[1:] {
			if ahead[0].Topic != "" {
				c.send(ahead[0])
			}
			if c.rnd.IntN(8) == 0 {
				sleep(ctx, time.Millisecond)
			}
		}
		if c.rnd.IntN(40) == 0 {
			c.subscribe(c.rnd.IntN(len(c.devices)))
		}
		if c.rnd.IntN(10) == 0 {
			sleep(ctx, time.Duration(c.rnd.IntN(100))*time.Millisecond)
		}
	}
	calm()
	for c.waiting() {
		sleep(end, 100*time.Millisecond)
	}
	stop()
	wg.Wait()
}

// waiting reports whether something is still on its way.
func (c *schedule) waiting() bool {
	for _, d := range c.devices {
		d.session.mu.Lock()
		waiting := d.session.behind != nil || d.session.flow != nil
		d.session.mu.Unlock()
		if waiting {
			return true
		}
	}
	return false
}

// check compares what each device got: all of QoS 1 and 2 once and in order, QoS 0 in order and the rest counted.
func (c *schedule) check(seed uint64) {
	zeros := int(c.r.stats.DroppedFull.Load())
	for i, d := range c.devices {
		got := make(map[place][]delivery)
		for _, m := range d.take() {
			got[m.place] = append(got[m.place], m)
		}
		for p, want := range c.want[i] {
			for _, m := range want {
				switch {
				case len(got[p]) > 0 && got[p][0] == m:
					got[p] = got[p][1:]
					if m.qos == 0 {
						zeros++
					}
				case m.qos > 0:
					c.t.Fatalf("seed %d, device %d, %v: want %+v, next is %+v", seed, i, p, m, got[p][:min(1, len(got[p]))])
				}
			}
			if len(got[p]) > 0 {
				c.t.Fatalf("seed %d, device %d, %v: too much: %+v", seed, i, p, got[p])
			}
			delete(got, p)
		}
		if len(got) > 0 {
			c.t.Fatalf("seed %d, device %d: too much: %+v", seed, i, got)
		}
	}
	if zeros != c.zeros {
		c.t.Errorf("seed %d: %d of QoS 0 delivered or counted as dropped, want %d (P2)", seed, zeros, c.zeros)
	}
}

// Whatever stalls and failures happen, each session gets exactly the records that match, once and in the order of their
// partitions, with bounded memory (P2, P3, P6).
func TestBehindSchedules(t *testing.T) {
	fell, replayed := int64(0), int64(0)
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			log := newLog(seed)
			r := newRegistry(t, func(c *Config) { c.Replay, c.MaxQueued = log, maxQueuedInSchedule })
			c := &schedule{t: t, rnd: rand.New(rand.NewPCG(seed, 4)), log: log, r: r}
			c.run(seed)
			c.check(seed)
			fell += r.stats.FellBehind.Load()
			replayed += r.stats.Replayed.Load()
		})
	}
	if fell < 50 || replayed < 500 {
		t.Errorf("the schedules prove little: fell behind %d times, %d replayed", fell, replayed)
	}
}

// behindOne returns a registry with one session that is behind after n messages, and its device.
func behindOne(t *testing.T, log *kafkaLog, n int) (*Registry, *device) {
	r := newRegistry(t, func(c *Config) {
		c.MaxQueued = 4
		if log != nil {
			c.Replay = log
		}
	})
	d := connect(r, "slow", nil)
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	d.makeRoom(0)
	sendRecords(t, r, log, 0, n)
	return r, d
}

func sendRecords(t *testing.T, r *Registry, log *kafkaLog, from, n int) {
	for i := range n {
		m := message("x", fmt.Sprint(from+i), 1)
		if log != nil {
			log.add(place{"k", 0}, 0, m)
		}
		send(t, r, m)
	}
}

// A session whose records Kafka no longer has is disconnected, and counted (P2).
func TestBehindOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(1)
		r, d := behindOne(t, log, 20)
		log.mu.Lock()
		log.start = 15
		log.mu.Unlock()
		d.makeRoom(-1)
		synctest.Wait()
		if why := d.reasons(); !slices.Equal(why, []Reason{QuotaExceeded}) || r.stats.Overrun.Load() != 1 {
			t.Errorf("disconnected with %v, %d counted", why, r.stats.Overrun.Load())
		}
	})
}

// Without a way to read back, a session that is too slow is disconnected and counted (P2, P6).
func TestNoReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := behindOne(t, nil, 10)
		if why := d.reasons(); !slices.Equal(why, []Reason{QuotaExceeded}) || r.stats.Overrun.Load() != 1 {
			t.Errorf("disconnected with %v, %d counted", why, r.stats.Overrun.Load())
		}
	})
}

// A record that is larger than what may be queued comes all the same, without reading it over and over.
func TestBehindLargeRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(1)
		r, d := behindOne(t, log, 6)
		large := message("x", string(make([]byte, 2<<20)), 1)
		log.add(place{"k", 0}, 0, large)
		send(t, r, large)
		sendRecords(t, r, log, 7, 1)
		d.makeRoom(3) // one stays queued, and more is read
		sleep(t.Context(), time.Minute)
		reads := log.reads
		if reads > 10 {
			t.Errorf("%d reads for a device that does not take anything", reads)
		}
		d.makeRoom(-1)
		sleep(t.Context(), time.Minute)
		if n := len(d.take()); n != 8 {
			t.Errorf("got %d, want 8", n)
		}
	})
}

// What is published before a subscription is not delivered for it, though the session reads back from before.
func TestSubscribeWhileBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(1)
		r, d := behindOne(t, log, 10)
		d.session.Unsubscribe([]string{"#"}, func([]bool) {})
		d.subscribe(Subscription{Filter: "x", QoS: 1})
		sendRecords(t, r, log, 10, 3)
		d.makeRoom(-1)
		sleep(t.Context(), time.Minute)
		var got []string
		for _, m := range d.take() {
			got = append(got, m.payload)
		}
		if want := []string{"0", "1", "2", "3", "10", "11", "12"}; !slices.Equal(got, want) { // the queue goes out [MQTT-3.10.4-3]
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A subscription does not count for the record with which the session fell behind just before.
func TestSubscribeJustBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(1)
		r, d := behindOne(t, log, 5)
		if r.stats.FellBehind.Load() != 1 || len(log.records[place{"k", 0}]) != 5 {
			t.Fatal("it did not fall behind with the last record")
		}
		d.subscribe(Subscription{Filter: "x", QoS: 2, ID: 9})
		d.makeRoom(-1)
		sleep(t.Context(), time.Minute)
		for i, m := range d.take() {
			if m.qos != 1 || m.ids != "" {
				t.Errorf("message %d: %+v", i, m)
			}
		}
	})
}

// A device that subscribes over and over while it is behind does not grow memory (P6).
func TestSubscribeWhileBehindBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, d := behindOne(t, newLog(1), 10)
		for i := range 1000 {
			d.subscribe(Subscription{Filter: fmt.Sprint("y/", i)})
		}
		if n := d.session.behind.copies; n > maxCopies {
			t.Errorf("%d copies", n)
		}
	})
}

// Devices that are stuck hold up the others for 100 ms in a second at most, however many they are (P6).
func TestStuckReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(1)
		const stuck, messages = 100, 2000
		r := newRegistry(t, func(c *Config) { c.Replay, c.MaxQueued, c.MaxInFlight = log, 10, messages })
		for i := range stuck {
			d := connect(r, fmt.Sprint("stuck-", i), nil)
			d.subscribe(Subscription{Filter: "x", QoS: 1})
			d.makeRoom(0)
		}
		good := connect(r, "good", nil)
		good.subscribe(Subscription{Filter: "x", QoS: 1})
		start := time.Now()
		sendRecords(t, r, log, 0, messages)
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("held up for %v", d)
		}
		if n := len(good.take()); n != messages {
			t.Errorf("the good one got %d of %d", n, messages)
		}
		if n := r.stats.Behind.Load(); n != stuck {
			t.Errorf("%d behind, want %d", n, stuck)
		}
	})
}

// Devices that need only moments pace the live path, and are not read back for.
func TestBriefStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(1)
		r := newRegistry(t, func(c *Config) { c.Replay, c.MaxQueued = log, 10 })
		var wg sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		const devices, burst, rounds = 50, 30, 10
		for i := range devices {
			d := connect(r, fmt.Sprint(i), nil)
			d.subscribe(Subscription{Filter: fmt.Sprint(i), QoS: 1})
			d.makeRoom(0)
			wg.Go(func() {
				for sleep(ctx, 2*time.Millisecond) {
					d.makeRoom(10)
				}
			})
		}
		for n := range rounds * devices * burst {
			m := message(fmt.Sprint(n/burst%devices), "p", 1)
			log.add(place{"k", 0}, 0, m)
			send(t, r, m)
		}
		sleep(ctx, time.Second)
		stop()
		wg.Wait()
		if n, fell := r.stats.Delivered[1].Load(), r.stats.FellBehind.Load(); n != rounds*devices*burst || fell > 0 {
			t.Errorf("%d delivered, fell behind %d times", n, fell)
		}
	})
}
