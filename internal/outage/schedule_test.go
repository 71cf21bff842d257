package outage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/spool"
)

// A schedule is all that a seed decides: who sends what, how Linkspan is configured, and what goes wrong when. What then happens
// depends on the order in which goroutines run, too, so a seed that failed may have to be run more than once.
type schedule struct {
	seed       uint64
	brokers    int
	partitions int32
	spool      spool.Config
	kafka      kafka.Config
	drainBytes int64
	disk       int64 // bytes that it has
	lanes      []spool.Lane
	devices    []habits
	troubles   []trouble
}

// maxMessage is Kafka's largest message here, in bytes; a few are larger.
const maxMessage = 4 << 10

// A trouble is something that goes wrong.
type trouble struct {
	kind   *kind
	at     time.Duration // since the start
	lasts  time.Duration // 0 for what is over at once
	broker int           // -1: all
	lane   int
}

func (tr *trouble) String() string {
	s := fmt.Sprintf("%v %s", tr.at, tr.kind.name)
	if tr.lasts > 0 {
		s += fmt.Sprintf(" for %v", tr.lasts)
	}
	if tr.kind.brokers && tr.broker >= 0 {
		s += fmt.Sprintf(", broker %d", tr.broker)
	}
	if tr.kind.lanes {
		s += ", " + laneName(tr.lane)
	}
	return s
}

func laneName(i int) string { return fmt.Sprintf("lane-%d", i) }

// dice draws what a schedule is made of.
type dice struct{ *rand.Rand }

func (d dice) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(d.Int64N(int64(most-least)+1))).Round(time.Millisecond)
}

func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

func newSchedule(seed uint64) *schedule {
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	s := &schedule{seed: seed, brokers: pick(d, 1, 1, 3), partitions: int32(1 + d.IntN(2))}
	s.configure(d)
	for i := range 1 + d.IntN(3) {
		lane := spool.Lane{Name: laneName(i)}
		if d.oneIn(2) {
			lane.Ack = pick(d, spool.AckKafka, spool.AckSpool, spool.AckSpool, spool.AckMemory)
		}
		if d.oneIn(3) {
			lane.Full = pick(d, spool.FullRefuse, spool.FullDropOldest, spool.FullDropNewest)
		}
		s.lanes = append(s.lanes, lane)
	}
	length := d.between(time.Second, 8*time.Second) // of publishing
	for i := range 3 + d.IntN(3) {
		s.devices = append(s.devices, newHabits(d, i, length))
	}
	s.trouble(d, length)
	return s
}

// configure makes everything small: the less there is, the more often things meet.
func (s *schedule) configure(d dice) {
	s.spool = spool.Default()
	s.spool.Dir = "/spool"
	s.spool.After = d.between(400*time.Millisecond, 2*time.Second)
	s.spool.SegmentBytes, s.spool.MaxBytes, s.spool.MinFree = 64<<10, 1<<20, 64<<10
	s.disk = pick[int64](d, 1<<30, 1<<30, 384<<10, 512<<10)
	s.spool.Drain.Timeout = d.between(0, 2*time.Second)
	if d.oneIn(10) {
		s.spool.MaxAge = d.between(time.Second, 5*time.Second)
	}
	s.spool.Drain.MaxInFlight = pick(d, 2, 10, 10000)
	s.drainBytes = pick[int64](d, 8<<10, 32<<10, 1<<20)

	s.kafka = kafka.Default()
	s.kafka.RequestTimeout = pick(d, 300*time.Millisecond, time.Second, 5*time.Second)
	s.kafka.RetryInterval = pick(d, 20*time.Millisecond, 200*time.Millisecond)
	s.kafka.Producer.Linger = pick(d, 0, 5*time.Millisecond)
	s.kafka.Producer.MaxMessageBytes = maxMessage
	s.kafka.Producer.MaxBufferedBytes = pick[int64](d, 64<<10, 1<<20)
}

// trouble draws what goes wrong: a few kinds, each perhaps more than once, often at the end of another or soon after its beginning.
// With all four of Kafka, devices, disk and process among them, they more often meet.
func (s *schedule) trouble(d dice, length time.Duration) {
	var chosen []*kind
	draw := func(kinds []kind) { chosen = append(chosen, &kinds[d.IntN(len(kinds))]) }
	if d.oneIn(2) {
		draw(kafkaKinds)
		draw(deviceKinds)
		draw(diskKinds)
		draw(processKinds)
	}
	for range 1 + d.IntN(2) {
		draw(pick(d, kafkaKinds, kafkaKinds, deviceKinds, diskKinds, processKinds))
	}
	var times []time.Duration // when something begins or ends
	for range 1 + d.IntN(7) {
		tr := trouble{kind: pick(d, chosen...), at: d.between(0, length), broker: -1, lane: d.IntN(len(s.lanes))}
		if s.brokers > 1 && d.oneIn(2) {
			tr.broker = d.IntN(s.brokers)
		}
		if len(times) > 0 && d.oneIn(2) {
			tr.at = pick(d, times...) + d.between(0, time.Second)
		}
		if tr.kind.lasts > 0 {
			tr.lasts = d.between(tr.kind.lasts/20, tr.kind.lasts)
		}
		times = append(times, tr.at, tr.at+tr.lasts)
		s.troubles = append(s.troubles, tr)
	}
	slices.SortStableFunc(s.troubles, func(a, b trouble) int { return int(a.at - b.at) })
}

// String is the whole schedule, for people to read.
func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d brokers, %d partitions; after %v, a disk of %d bytes, drain %d messages %d bytes, max age %v; producer %d bytes, linger %v, request timeout %v, retry %v\n",
		s.seed, s.brokers, s.partitions, s.spool.After, s.disk, s.spool.Drain.MaxInFlight, s.drainBytes, s.spool.MaxAge,
		s.kafka.Producer.MaxBufferedBytes, s.kafka.Producer.Linger, s.kafka.RequestTimeout, s.kafka.RetryInterval)
	for _, l := range s.lanes {
		fmt.Fprintf(&b, "  %s: ack %v, full %v\n", l.Name, l.Ack, l.Full)
	}
	for i := range s.devices {
		fmt.Fprintf(&b, "  %v\n", &s.devices[i])
	}
	for i := range s.troubles {
		fmt.Fprintf(&b, "  %v\n", &s.troubles[i])
	}
	return b.String()
}
