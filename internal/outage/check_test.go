package outage

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/spool"
)

// want says whether a process should run: all who said no have to say yes again.
func (w *world) want(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down -= n
}

// done reports whether every message of every device has been settled.
func (w *world) done() bool {
	for _, d := range w.devices {
		d.mu.Lock()
		left := d.count - len(d.sent) + len(d.open)
		d.mu.Unlock()
		if left > 0 {
			return false
		}
	}
	return true
}

// rested reports whether nothing is in the spool or on the way, and all lanes go directly where they may.
func (w *world) rested() bool {
	p := w.current()
	if p == nil || !p.accepts() || p.sends.Load() > 0 {
		return false
	}
	status := p.spool.Status()
	for _, l := range status.Lanes {
		if l.Messages != 0 || l.InFlight != 0 || l.Way != spool.Direct && l.Ack != spool.AckSpool {
			return false
		}
	}
	return status.Verdict == spool.OK && status.Disk.Failing == nil && status.Disk.Pending == 0
}

// describe says how things are, for people who wonder why nothing happens.
func (w *world) describe() string {
	var b strings.Builder
	for _, d := range w.devices {
		d.mu.Lock()
		fmt.Fprintf(&b, "\n%s: %d sent, %d not settled", d.name, len(d.sent), len(d.open))
		d.mu.Unlock()
	}
	if p := w.current(); p != nil {
		status := p.spool.Status()
		fmt.Fprintf(&b, "\n%v: %s; disk %+v; %d in the producer", status.Verdict, status.Reason, status.Disk, p.client.Producer().Stats().InFlight.Load())
		for _, l := range status.Lanes {
			fmt.Fprintf(&b, "\n%s: %v, %d messages, %d in flight, %+v", l.Name, l.Way, l.Messages, l.InFlight, l.Counters)
		}
	} else {
		b.WriteString("\nno process runs")
	}
	disk := w.drive()
	for _, name := range disk.Names() {
		fmt.Fprintf(&b, "\n%s: %d bytes", name, len(disk.Content(name)))
	}
	return b.String()
}

// checkPositions kills the process when all has been delivered for a while: the next one delivers none of it again (P4).
func (w *world) checkPositions() {
	pass(time.Second)
	before := w.written()
	w.want(-1)
	if p := w.current(); p != nil {
		w.tell("--- killed while nothing is on the way")
		p.kill(survive)
	}
	w.want(1)
	if w.until("a process that has nothing to do", w.rested) && w.written() != before {
		w.failf("what was delivered and settled is delivered again: %d records, and %d after a kill", before, w.written())
	}
}

// written is how many records there are in Kafka.
func (w *world) written() (n int64) {
	for _, topic := range w.topics() {
		for _, p := range w.cluster.PartitionInfos(topic) {
			n += p.HighWatermark
		}
	}
	return n
}

func (w *world) topics() []string {
	topics := []string{deadTopic}
	for _, l := range w.s.lanes {
		topics = append(topics, l.Name)
	}
	return topics
}

// identity is what a payload begins with: who sent it, by which lane, and its number.
func identity(payload []byte) string {
	return string(bytes.Join(bytes.SplitN(payload, []byte(" "), 4)[:3], []byte(" ")))
}

// mourn notes what is in Kafka, and will not be any more.
func (w *world) mourn() {
	w.readAll(func(r *linkspan.Message) { w.gone[identity(r.Payload)] = true })
}

// A finding is where a message was found.
type finding struct{ records, letters int }

// check compares what devices were told with what is in Kafka.
func (w *world) check() {
	known := map[string]*message{}
	for _, d := range w.devices {
		for _, m := range d.sent {
			known[m.String()] = m
		}
	}
	found := map[*message]*finding{}
	newest := map[string]*message{} // by device and topic
	w.readAll(func(r *linkspan.Message) {
		m := known[identity(r.Payload)]
		if m == nil {
			w.failf("%s has %q, which nobody sent", r.Record.Topic, r.Payload)
			return
		}
		f := found[m]
		if f == nil {
			f = new(finding)
			found[m] = f
		}
		if r.Record.Topic == deadTopic {
			f.letters++
			return
		}
		f.records++
		if !bytes.Equal(r.Payload, m.payload()) || string(r.Record.Key) != m.d.name || string(r.Record.Header("device")) != m.d.name || r.Record.Topic != laneName(m.lane) {
			w.failf("%v is not what it was: %+v", m, r)
		}
		at := m.d.name + r.Record.Topic
		if last := newest[at]; f.records == 1 && f.letters == 0 { // else it comes once more
			if m.no != nil || w.gone[m.name] || m.copies > 1 && w.mayDrop(&w.s.lanes[m.lane]) {
				return // it was refused, or lost by its Kafka, or dropped, before it came once more
			}
			if last != nil && last.seq > m.seq && (!w.mixed || w.s.lanes[m.lane].Ack == spool.AckSpool) {
				w.failf("%v comes after %v (P3)", m, last)
			}
			newest[at] = m
		}
	})
	w.compare(found)
}

// readAll visits all records of all topics, in the order of each partition.
func (w *world) readAll(visit func(*linkspan.Message)) {
	cfg := w.s.kafka
	cfg.Brokers, cfg.Dial, cfg.RequestTimeout = w.addrs, w.network.wire.DialContext, 10*time.Second
	client, err := kafka.New(cfg, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range w.topics() {
		for partition := range w.s.partitions {
			for at := int64(0); ; {
				next, err := client.ReadAt(context.Background(), topic, partition, at, 1<<20, visit)
				if err != nil {
					w.failf("%v", err)
				}
				if err != nil || next == at {
					break
				}
				at = next
			}
		}
	}
}

// dropped reports whether err tells a sender that still waited that its message was dropped.
func dropped(err error) bool { return strings.Contains(err.Error(), "was dropped from the spool") }

// mayDrop reports whether messages of a lane may be dropped after they were taken.
func (w *world) mayDrop(l *spool.Lane) bool {
	return w.s.spool.MaxAge > 0 || l.Full == spool.FullDropOldest || l.Full == spool.FullDropNewest
}

// compare checks the promises for each message.
func (w *world) compare(found map[*message]*finding) {
	type sums struct {
		missing []string
		fewer   uint64 // of what was handed over more than once, what is not there beside that
		gone    uint64 // found by nobody: they were in the Kafka that there is no more
		quota   uint64
	}
	lanes := map[string]*sums{}
	for _, l := range w.s.lanes {
		lanes[l.Name] = new(sums)
	}
	for _, d := range w.devices {
		for _, m := range d.sent {
			f := found[m]
			if f == nil {
				f = new(finding)
			}
			sum := lanes[laneName(m.lane)]
			switch {
			case !m.custody && m.state != acked:
			case f.records+f.letters > 0:
				sum.fewer += uint64(max(0, m.copies-f.records-f.letters))
			case w.gone[m.String()]:
				sum.gone++
			default:
				sum.missing = append(sum.missing, m.String())
				sum.fewer += uint64(m.copies - 1)
			}
			sum.quota += m.quota
			for range m.drops {
				sum.missing = append(sum.missing, m.String()+" (and its sender was told)")
			}
			if f.records+f.letters > m.copies && !w.rough && !w.again {
				w.failf("%v is there %d times and %d times in the dead letter topic, was taken %d times, and nothing was killed", m, f.records, f.letters, m.copies)
			}
			if m.state == unsettled {
				w.failf("%v was never settled", m)
			}
		}
	}
	for _, l := range w.s.lanes {
		sum, c := lanes[l.Name], w.count(l.Name)
		missing, allowed, mayDrop := uint64(len(sum.missing)), c.dropped, w.mayDrop(&l)
		if w.rough && mayDrop {
			allowed += c.away
		}
		if l.Ack == spool.AckMemory {
			allowed += c.lost
			if w.rough {
				continue
			}
		}
		dead := w.count(spool.DeadLetters).dropped
		switch {
		case missing > 0 && !mayDrop && allowed == 0:
			w.failf("%s: lost %d (P1): %s", l.Name, missing, strings.Join(sum.missing, ", "))
		case missing > allowed+dead:
			w.failf("%s: lost %d, of which %d are counted as dropped (P2): %s", l.Name, missing, allowed, strings.Join(sum.missing, ", "))
		case !w.rough && missing+sum.fewer+sum.gone+dead < allowed:
			w.failf("%s: %d are counted as dropped, but only %d are missing (P2): %s", l.Name, allowed, missing, strings.Join(sum.missing, ", "))
		case !mayDrop && c.dropped > 0, l.Ack != spool.AckMemory && c.lost > 0:
			w.failf("%s: %d dropped, %d lost, which may not be", l.Name, c.dropped, c.lost)
		case !w.rough && sum.quota != c.refused:
			w.failf("%s: %d refused, %d counted", l.Name, sum.quota, c.refused)
		}
	}
}
