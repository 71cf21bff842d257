package amqp_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/group"
)

// A memory is a Kafka in memory: what the listener hands on becomes records, which groups read. Messages go to the topic of their
// address, and there where they ask to go.
type memory struct {
	mu      sync.Mutex
	changed *sync.Cond
	version int                              // counts changes
	rested  int                              // the version at which a member last found nothing to do
	topics  map[string][][]*linkspan.Message // by partition
	places  map[string]int                   // the settled prefix of each group, topic and partition
	beyond  map[string]map[int]bool          // settled offsets that are not in the prefix yet
	letters []string                         // dead letters: payload and reason
}

func newMemory(topics map[string]int) *memory {
	k := &memory{topics: map[string][][]*linkspan.Message{}, places: map[string]int{}, beyond: map[string]map[int]bool{}}
	k.changed = sync.NewCond(&k.mu)
	for name, partitions := range topics {
		k.topics[name] = make([][]*linkspan.Message, partitions)
	}
	return k
}

// Send stores a message.
func (k *memory) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	k.mu.Lock()
	c := m.Clone()
	parts, ok := k.topics[c.Topic]
	if !ok {
		k.mu.Unlock()
		done(linkspan.ErrNoRoute)
		return
	}
	p := max(c.Record.Partition, 0)
	c.Record.Topic, c.Record.Partition, c.Record.Offset = c.Topic, p, int64(len(parts[p]))
	parts[p] = append(parts[p], c)
	k.change()
	k.mu.Unlock()
	done(nil)
}

func (k *memory) Partitions(_ context.Context, topic string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.topics[topic] == nil {
		return 0, linkspan.Permanent(fmt.Errorf("there is no topic %s", topic))
	}
	return len(k.topics[topic]), nil
}

func (k *memory) Group(name string, changed func(bool, map[string][]int32)) group.Member {
	return &member{k: k, group: name, changed: changed, next: map[string][]int{}, back: map[string][]int{}}
}

func (k *memory) Partition(p group.Partition) group.Source {
	m := &member{k: k, group: p.Group, next: map[string][]int{}, back: map[string][]int{}, only: &p}
	m.next[p.Topic] = make([]int, p.Partition+1)
	return m
}

// change wakes who waits for one. Called with k locked.
func (k *memory) change() {
	k.version++
	k.changed.Broadcast()
}

// rests reports whether the one group that there is has nothing to do: what it could hand over it has, or in vain.
func (k *memory) rests() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rested == k.version
}

// settled returns how many records of a topic are behind a group.
func (k *memory) settled(group, topic string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range k.topics[topic] {
		n += k.places[place(group, topic, p)]
	}
	return n
}

// settle moves the position of a group over the settled prefix. Called with k locked.
func (k *memory) settle(at string, offset int) {
	if k.beyond[at] == nil {
		k.beyond[at] = map[int]bool{}
	}
	k.beyond[at][offset] = true
	for k.beyond[at][k.places[at]] {
		delete(k.beyond[at], k.places[at])
		k.places[at]++
	}
}

func place(group, topic string, p int) string { return fmt.Sprint(group, " ", topic, " ", p) }

// A member reads for a group, or one partition. It has all partitions of its topics.
type member struct {
	k       *memory
	group   string
	changed func(bool, map[string][]int32)
	only    *group.Partition
	next    map[string][]int // offsets, by topic and partition
	back    map[string][]int // offsets that were given back, by place
	changes []change
	open    int
	over    bool
}

func (m *member) Add(topic string) { m.change(topic, true) }

func (m *member) Remove(topic string) { m.change(topic, false) }

// change is told to Run, which tells the group: the group is locked here.
func (m *member) change(topic string, add bool) {
	m.k.mu.Lock()
	m.changes = append(m.changes, change{topic, add})
	m.k.change()
	m.k.mu.Unlock()
}

type change struct {
	topic string
	add   bool
}

// follow does what was asked for with Add and Remove. Called with k locked.
func (m *member) follow() {
	for len(m.changes) > 0 {
		c := m.changes[0]
		m.changes = m.changes[1:]
		all := make([]int32, len(m.k.topics[c.topic]))
		next := make([]int, len(all))
		for p := range all {
			all[p] = int32(p)
			next[p] = m.k.places[place(m.group, c.topic, p)]
		}
		m.k.mu.Unlock()
		m.changed(c.add, map[string][]int32{c.topic: all})
		m.k.mu.Lock()
		if delete(m.next, c.topic); c.add {
			m.next[c.topic] = next
		}
	}
}

func (m *member) Wake(string, int32) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.k.change()
}

// Run feeds until ctx ends, and waits for what it handed over.
func (m *member) Run(ctx context.Context, to linkspan.Sink) error {
	k := m.k
	stop := context.AfterFunc(ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		m.over = true
		k.change()
	})
	defer stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	for v := k.version; !m.over || m.open > 0; v = k.version {
		m.follow()
		if (m.over || !m.feed(ctx, to)) && k.version == v {
			k.rested = v
			k.changed.Wait()
		}
	}
	return nil
}

// feed hands over one record that there is room for. Called with k locked.
func (m *member) feed(ctx context.Context, to linkspan.Sink) bool {
	for topic, nexts := range m.next {
		for p, next := range nexts {
			if m.only != nil && (topic != m.only.Topic || p != int(m.only.Partition)) {
				continue
			}
			at := place(m.group, topic, p)
			back := m.back[at]
			log := m.k.topics[topic][p]
			if m.only != nil && next == 0 {
				next = int(m.only.From.Offset)
			}
			again := len(back) > 0
			if again {
				next = back[0]
			} else if next >= len(log) {
				continue
			}
			r := log[next].Clone()
			v := m.k.version
			m.k.mu.Unlock()
			room := linkspan.Room(to, r)
			m.k.mu.Lock()
			if !room || m.k.version != v { // else something may have come back meanwhile, which goes first
				continue
			}
			if again {
				m.back[at] = m.back[at][1:]
			} else {
				m.next[topic][p] = next + 1
			}
			m.open++
			m.k.mu.Unlock()
			to.Send(ctx, r, func(err error) { m.settle(r, next, err) })
			m.k.mu.Lock()
			return true
		}
	}
	return false
}

func (m *member) settle(r *linkspan.Message, offset int, err error) {
	m.k.mu.Lock()
	at := place(m.group, r.Record.Topic, int(r.Record.Partition))
	m.open--
	m.k.change()
	switch {
	case err == nil:
		m.k.settle(at, offset)
	case linkspan.IsPermanent(err):
		m.k.settle(at, offset)
		m.k.letters = append(m.k.letters, string(r.Payload)+": "+err.Error())
	default:
		m.back[at] = append(m.back[at], offset)
		slices.Sort(m.back[at])
	}
	m.k.mu.Unlock()
}
