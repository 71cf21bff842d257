package fleet

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"pgregory.net/rapid"
)

// bubble keeps rapid from asking for the deadline, which has no meaning in virtual time.
type bubble struct{ *testing.T }

// Whatever the schedule: each record of each device is in an inbox or in the dead letter topic (P1, P2, P5), in an inbox in
// order (P3), and once where nothing was killed (KAL-W2, KAL-W3).
func TestAnySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(t *rapid.T) { schedule(t, true) })
	})
}

func TestAnyScheduleWithoutKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(t *rapid.T) { schedule(t, false) })
	})
}

func schedule(t *rapid.T, kills bool) {
	w := newWorld(t)
	defer w.end()
	steps := rapid.IntRange(20, 200).Draw(t, "steps")
	for range steps {
		w.step(kills)
		synctest.Wait()
	}
	w.finish()
	w.check()
}

// step does one thing.
func (w *world) step(kills bool) {
	p := pickOf(w, w.processes, "process")
	n := 1 + w.pick(4, "n")
	switch w.pick(16, "step") {
	case 0, 1, 2:
		device := pickOf(w, w.devices, "device")
		topic := pickOf(w, w.topics, "topic")
		for range n {
			w.produce(topic, device)
		}
	case 3:
		device := pickOf(w, w.devices, "device")
		p.places.Learn(w.t.Context(), device, w.broker(device), time.Now())
	case 4:
		device := pickOf(w, w.devices, "device")
		p.places.Leave(w.t.Context(), device, w.broker(device), time.Now())
	case 5, 6, 7:
		key := pickOf(w, w.sources, "source")
		f := w.feeds[key]
		if f == nil {
			w.assign(p, key)
			f = w.feeds[key]
		}
		if len(w.zombies) > 0 && w.pick(3, "zombie") == 0 {
			f = pickOf(w, w.zombies, "zombie")
		}
		for range n {
			f.step()
		}
		if f == w.feeds[key] {
			f.commit()
		}
	case 8, 9:
		if queues := p.known(); len(queues) > 0 {
			p.land(pickOf(w, queues, "queue"), n)
		}
	case 10, 11:
		p.ack(n)
	case 12, 13:
		topic := pickOf(w, []string{w.cfg.DevicesTopic(), w.cfg.ParkedTopic(), w.cfg.ParkedTopic()}, "log")
		p.follow(topic, w.pick(len(w.logs[topic]), "partition"), n)
	case 14:
		w.rebalance(p)
	case 15:
		w.trouble(p, kills)
	}
}

// rebalance gives a process a lane or a source, in order.
func (w *world) rebalance(p *process) {
	if w.pick(2, "what") == 0 {
		lane := int32(w.pick(int(w.cfg.Lanes), "lane"))
		if o := w.owners[lane]; o != nil {
			o.stop()
		}
		w.own(p, lane)
		return
	}
	key := pickOf(w, w.sources, "source")
	if f := w.feeds[key]; f != nil {
		w.revoke(f)
	}
	w.assign(p, key)
}

// trouble is what processes do not hear of, or do not survive.
func (w *world) trouble(p *process, kills bool) {
	kind := w.pick(7, "trouble")
	if kind == 0 {
		time.Sleep(time.Duration(1+w.pick(30, "seconds")) * time.Second)
		return
	}
	if kind == 1 && len(w.processes) < 4 {
		w.start()
	}
	if !kills {
		return
	}
	switch kind {
	case 2:
		w.kill(p)
		if len(w.processes) == 0 {
			w.start()
		}
	case 3: // another gets a source
		key := pickOf(w, w.sources, "source")
		if f := w.feeds[key]; f != nil && f.p != p {
			w.rough = true
			w.zombies = append(w.zombies, f)
			w.assign(p, key)
		}
	case 4: // another gets a lane
		lane := int32(w.pick(int(w.cfg.Lanes), "lane"))
		if o := w.owners[lane]; o != nil && o.p != p {
			w.rough = true
			w.undead = append(w.undead, o)
			w.own(p, lane)
		}
	case 5:
		if len(w.ghosts) > 0 {
			if g := pickOf(w, w.ghosts, "ghost"); len(g.known()) > 0 {
				g.land(pickOf(w, g.known(), "queue"), 1)
			}
		}
	case 6:
		if queues := p.known(); len(queues) > 0 {
			w.rough = true
			p.fail(pickOf(w, queues, "queue"))
		}
	}
}

// finish lets the fleet do its work to the end.
func (w *world) finish() {
	for _, f := range w.zombies {
		f.gone = true
	}
	w.zombies = nil
	for _, o := range w.undead {
		o.stop()
	}
	w.undead = nil
	for lane := range w.cfg.Lanes {
		if w.owners[lane] == nil {
			w.own(pickOf(w, w.processes, "owner"), lane)
		}
	}
	for _, key := range w.sources {
		if w.feeds[key] == nil {
			w.assign(pickOf(w, w.processes, "process"), key)
		}
	}
	for _, d := range w.devices {
		if w.pick(2, "seen") == 0 {
			w.processes[0].places.Learn(w.t.Context(), d, w.broker(d), time.Now())
		}
	}
	for range 2000 {
		if w.idle() {
			return
		}
		for _, key := range w.sources {
			w.feeds[key].step()
			w.feeds[key].commit()
		}
		for _, p := range w.processes {
			for _, key := range p.known() {
				p.land(key, 5)
			}
			p.ack(5)
			p.followAll()
		}
		synctest.Wait()
		time.Sleep(retryInterval)
	}
	w.t.Fatalf("work is left: positions %v, logs %v, parked %d", w.committed, w.lengths(), w.processes[0].parking.stats.Records.Load())
}

func (w *world) lengths() map[sourceKey]int {
	out := map[sourceKey]int{}
	for _, key := range w.sources {
		out[key] = len(w.logs[key.topic][key.partition])
	}
	return out
}

// idle reports whether all records are settled and nothing is parked.
func (w *world) idle() bool {
	for _, key := range w.sources {
		if slices.ContainsFunc(w.logs[key.topic][key.partition][w.committed[key]:], func(m *linkspan.Message) bool { return m != nil }) {
			return false
		}
	}
	for _, p := range w.processes {
		if p.unacked() > 0 || p.parking.stats.Records.Load() > 0 {
			return false
		}
	}
	return true
}

// end stops what runs.
func (w *world) end() {
	for _, o := range w.owners {
		o.cancel()
		o.p.pump(func() bool { return true })
	}
	time.Sleep(3 * releaseDrain)
}

// check compares what was sent with what has arrived.
func (w *world) check() {
	var unwrap names
	arrived := map[string]int{}  // by value
	newest := map[string]int64{} // by inbox, source topic and device
	for _, landed := range w.landed {
		m := landed.Clone()
		if m.Record.Topic == w.cfg.InboxTopic() {
			w.checkRecord(m, arrived, newest, &unwrap)
		}
		if m.Record.Topic != w.cfg.ParkedTopic() {
			arrived[string(m.Payload)]++
		}
	}
	for _, key := range w.sources {
		for _, m := range w.logs[key.topic][key.partition] {
			if m == nil {
				continue
			}
			switch n := arrived[string(m.Payload)]; {
			case n == 0:
				w.t.Fatalf("%s is lost", m.Payload)
			case n > 1 && !w.rough && key.topic != "flood", n > len(w.brokers) && !w.rough:
				w.t.Fatalf("%s came %d times", m.Payload, n)
			}
		}
	}
}

// checkRecord reads a record as the endpoint does that it is for. Behind newer ones of its device, it must be a repetition; but
// where a device moves while its records are on their way to both brokers, and their sender is killed, there is no order.
func (w *world) checkRecord(m *linkspan.Message, arrived map[string]int, newest map[string]int64, unwrap *names) {
	broker := string(m.Record.Headers[len(m.Record.Headers)-2].Value)
	if mine, err := unwrapInbox(m, broker, unwrap); err != nil || !mine {
		w.t.Fatalf("inbox: %v", err)
	}
	original := w.logs[m.Record.Topic][m.Record.Partition][m.Record.Offset]
	if string(original.Payload) != string(m.Payload) || string(original.Record.Key) != string(m.Record.Key) ||
		!original.Record.Timestamp.Equal(m.Record.Timestamp) || len(m.Record.Headers) != 1 {
		w.t.Fatalf("%s came as %+v", original.Payload, m)
	}
	of := broker + " " + m.Record.Topic + " " + string(m.Record.Key)
	last, some := newest[of]
	if some && m.Record.Offset < last && arrived[string(m.Payload)] == 0 && !(w.moves && w.rough) {
		w.t.Fatalf("%s came to %s after offset %d", m.Payload, broker, last)
	}
	newest[of] = max(last, m.Record.Offset)
}
