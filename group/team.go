package group

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// A team is the receivers of one group in this process, or the one receiver of a single partition. It is the sink of their source.
//
// Locks are taken in this order: the registry's, the team's, a part's.
type team struct {
	registry *Registry
	name     string
	source   Source
	member   Member // the same, nil where there is a single partition
	cancel   context.CancelFunc

	parts atomic.Pointer[map[key]*part] // what Kafka has given to us; replaced, never changed

	mu        sync.Mutex
	topics    map[string]*topic
	receivers int
	over      bool // the source has ended or is about to: nobody joins
}

type key struct {
	topic     string
	partition int32
}

// A topic is what a team has of one: parts, and receivers among whom they are shared.
type topic struct {
	name       string
	partitions int // in all, as of the last join
	receivers  []*Receiving
	parts      []*part // sorted
	strays     []*part // Kafka has taken them away; not all of their deliveries are settled
}

var _ linkspan.Bounded = (*team)(nil)

func newTeam(r *Registry, name string) *team {
	t := &team{registry: r, name: name, topics: map[string]*topic{}}
	t.parts.Store(&map[key]*part{})
	return t
}

// run reads until ctx ends.
func (t *team) run(ctx context.Context) {
	err := t.source.Run(ctx, t)
	r := t.registry
	r.mu.Lock()
	r.ends(t)
	delete(r.all, t)
	t.mu.Lock()
	t.over = true
	var gone []*Receiving
	for _, tp := range t.topics {
		gone = append(gone, tp.receivers...)
	}
	t.mu.Unlock()
	r.mu.Unlock()
	if err == nil {
		err = linkspan.ErrClosed
	}
	for _, rc := range gone {
		rc.Leave()
		(*rc.to.Load()).Gone(err)
	}
}

// at returns the part that m is of, nil where we do not have it.
func (t *team) at(m *linkspan.Message) *part {
	return (*t.parts.Load())[key{m.Record.Topic, m.Record.Partition}]
}

// Room reports whether the record m can be delivered now.
func (t *team) Room(m *linkspan.Message) bool {
	if m == nil {
		return true
	}
	p := t.at(m)
	return p != nil && p.room(m.Record.Offset)
}

// Send delivers the record m.
func (t *team) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	p := t.at(m)
	if p == nil {
		done(errNobody)
		return
	}
	d := t.registry.delivery()
	again, err := p.open(d, m.Record.Offset, done)
	if err != nil {
		t.registry.deliveries.Put(d)
		done(err)
		return
	}
	rc := d.rc
	resumes := rc.resumes.Load()
	if (*rc.to.Load()).Deliver(m, d) {
		t.registry.stats.delivered(again)
		return
	}
	if !d.Overtaken() {
		rc.stall(resumes)
	}
	d.refuse()
}

// wake has the source look again at what rc may get. It takes what the wakeful rc may have been asked for: its own parts, and those
// with records that not everybody takes.
func (t *team) wake(rc *Receiving) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rc.left {
		return
	}
	for _, p := range rc.topic.parts {
		if p.concerns(rc) {
			t.source.Wake(p.topic, p.partition)
		}
	}
}

// changed is called by the source when it has other parts.
func (t *team) changed(ours bool, partitions map[string][]int32) {
	t.mu.Lock()
	all := maps.Clone(*t.parts.Load())
	var told []*Receiving
	for name, ps := range partitions {
		tp := t.topic(name)
		for _, n := range ps {
			k := key{name, n}
			if p := all[k]; p != nil {
				tp.parts = slices.DeleteFunc(tp.parts, func(q *part) bool { return q == p })
				tp.strays = append(tp.strays, p)
				p.stop()
				delete(all, k)
			}
			if ours {
				p := &part{team: t, key: k}
				all[k] = p
				tp.parts = append(tp.parts, p)
			}
		}
	}
	t.parts.Store(&all)
	for name := range partitions {
		told = append(told, t.share(t.topics[name])...)
	}
	t.mu.Unlock()
	tell(told)
}

// topic returns what the team has of a topic. Called with t locked.
func (t *team) topic(name string) *topic {
	tp := t.topics[name]
	if tp == nil {
		tp = &topic{name: name}
		t.topics[name] = tp
	}
	return tp
}

// join adds a receiver of a topic that has n partitions, and returns who is to be told that it idles. Called with t locked.
func (t *team) join(rc *Receiving, topic string, n int) (told []*Receiving) {
	tp := t.topic(topic)
	tp.partitions = n
	tp.receivers = append(tp.receivers, rc)
	rc.topic = tp
	t.receivers++
	t.registry.stats.Receivers.Add(1)
	if len(tp.receivers) == 1 && t.member != nil {
		t.member.Add(topic)
	}
	return t.share(tp)
}

// leave removes a receiver and gives back what is unsettled there. The last one of a topic ends the interest in that, the last one
// of all ends the team.
func (t *team) leave(rc *Receiving) {
	r := t.registry
	r.mu.Lock()
	t.mu.Lock()
	told := t.remove(rc)
	if t.receivers == 0 && !t.over {
		t.over = true
		r.ends(t)
		if t.cancel != nil {
			t.cancel()
		} else {
			delete(r.all, t)
		}
	}
	t.mu.Unlock()
	r.mu.Unlock()
	tell(told)
}

// remove is the part of leave within the team. Called with t locked.
func (t *team) remove(rc *Receiving) (told []*Receiving) {
	if rc.left {
		return nil
	}
	tp := rc.topic
	rc.left = true
	rc.occupied()
	t.receivers--
	t.registry.stats.Receivers.Add(-1)
	tp.receivers = slices.DeleteFunc(tp.receivers, func(o *Receiving) bool { return o == rc })
	for _, p := range slices.Concat(tp.parts, tp.strays) {
		p.giveBack(rc)
	}
	if len(tp.receivers) == 0 && t.member != nil {
		t.member.Remove(tp.name)
	}
	return t.share(tp)
}
