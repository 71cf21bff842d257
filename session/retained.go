package session

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// retained keeps the last retained message of each topic, in level order: by the bytes of the topic, '/' before all
// others, so that everything under one level is in one stretch. A place in that order is a topic, which stays good
// whatever is set and deleted meanwhile: a new subscription walks the store at the pace of its device, and holds no
// more than where it is.
type retained struct {
	maxCount, maxBytes int
	stats              *Stats

	mu       sync.RWMutex
	chunks   [][]*kept // none is empty, all are in order
	count    int
	bytes    int
	expiring expiring
}

// kept is one topic's retained message. A route may send to one endpoint only, and another with the same topic to all:
// each is kept in its own right, and a device gets the one for its endpoint, which is the newer. One without payload
// says that nothing is retained for its endpoint, though there is for all.
type kept struct {
	topic string
	m     *linkspan.Message
	size  int
	round uint64 // the registry's round in which it was set
	slot  int    // index in expiring, -1 if the message does not expire
	next  *kept  // of the same topic, for another endpoint
}

// of returns the message of k's topic that is for exactly that target, nil if there is none.
func (k *kept) of(target string) *kept {
	for k != nil && k.m.Target != target {
		k = k.next
	}
	return k
}

// seenBy returns what a device of that endpoint gets of k's topic, nil for nothing.
func (k *kept) seenBy(endpoint string) *kept {
	all := k.of("")
	if k.next == nil && all != nil {
		return all
	}
	own := k.of(endpoint)
	switch {
	case own == nil:
		return all
	case len(own.m.Payload) == 0:
		return nil
	}
	return own
}

// nothing returns a message that says that no message of this topic is retained for m's target.
func nothing(m *linkspan.Message) *shared {
	return &shared{Message: &linkspan.Message{Topic: m.Topic, Target: m.Target}}
}

const chunkSize = 512 // a search in a chunk and an insertion into it cost about the same

// set retains m, or deletes what its topic had if m is empty, expired or does not fit [MQTT-3.3.1-5, MQTT-3.3.1-6].
// It reports whether m is refused since the store is full.
func (r *retained) set(m *shared, round uint64, now time.Time) (refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.expiring) > 0 && r.expiring[0].m.Expired(now) {
		r.clear(r.expiring[0])
	}
	first := r.find(m.Topic)
	for k := first; k != nil && m.Target == ""; k = k.next { // those for one endpoint are older
		if k.m.Target != "" {
			r.remove(k)
		}
	}
	return r.put(m, first.of(m.Target), round, now)
}

// put sets m in the place of old, the message for the same target, nil if there is none.
func (r *retained) put(m *shared, old *kept, round uint64, now time.Time) (refused bool) {
	if len(m.Payload) == 0 || m.Expired(now) {
		if old != nil {
			r.clear(old)
			return false
		}
		if m.Target == "" || r.find(m.Topic).of("") == nil {
			return false
		}
		m = nothing(m.Message)
	}
	count, bytes, size := r.count+1, r.bytes, size(m.Message)
	if old != nil {
		count, bytes = r.count, r.bytes-old.size
	}
	if count > r.maxCount || bytes+size > r.maxBytes {
		if old != nil {
			r.remove(old)
		}
		if all := r.find(m.Topic).of(""); all != nil { // no longer true, at least not for all
			r.remove(all)
		}
		return true
	}
	if old == nil {
		old = &kept{slot: -1}
		old.fill(m, size, round)
		r.insert(old)
	} else {
		r.unexpire(old)
		old.fill(m, size, round)
	}
	r.expire(old)
	r.account(count, bytes+size)
	return false
}

// fill gives k another message.
func (k *kept) fill(m *shared, size int, round uint64) {
	k.m, k.size, k.round = m.keep(), size, round
	k.topic = k.m.Topic
}

// clear makes k's message one that was: it is removed, or marks that the older one for all is not for its endpoint.
func (r *retained) clear(k *kept) {
	if k.m.Target == "" || r.find(k.topic).of("") == nil {
		r.remove(k)
		return
	}
	r.unexpire(k)
	before := k.size
	m := nothing(k.m)
	k.fill(m, size(m.Message), k.round)
	r.account(r.count, r.bytes-before+k.size)
}

// find returns the first message of a topic, nil if there is none.
func (r *retained) find(topic string) *kept {
	if c, i, found := seek(r, topic); found {
		return r.chunks[c][i]
	}
	return nil
}

// next goes on from where w is, in level order, to the next message for its endpoint that its filter matches and that was
// set up to and including its round. It returns the topic that it came to, and the message unless it has used up its
// steps before. more is false at the end.
func (r *retained) next(w *walk, steps *int) (m *linkspan.Message, topic string, more bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var hop []byte
	c, i, found := seek(r, w.after)
	if found {
		i++
	}
	for topic = w.after; *steps > 0; {
		*steps--
		if c < len(r.chunks) && i == len(r.chunks[c]) {
			c, i = c+1, 0
		}
		if c >= len(r.chunks) {
			return nil, "", false
		}
		k := r.chunks[c][i]
		topic = k.topic
		var matches bool
		matches, more, hop = leap(w.filter, topic, hop[:0])
		switch {
		case matches:
			if k = k.seenBy(w.endpoint); k != nil && k.round <= w.round {
				return k.m, topic, true
			}
			i++
		case !more:
			return nil, "", false
		default:
			c, i, _ = seek(r, hop)
		}
	}
	return nil, topic, true
}

// leap reports whether filter matches topic. If not, it reports whether a later topic in level order can match, and
// appends to hop where to look for it: everything before that cannot.
func leap(filter, topic string, hop []byte) (matches, more bool, _ []byte) {
	plus := -1 // end of the last level of topic that a + took: there the walk can go on sideways
	f, t := 0, 0
	for f <= len(filter) {
		fend := levelEnd(filter, f)
		level := filter[f:fend]
		wild := level == "+" || level == "#"
		switch {
		case wild && t == 0 && topic != "" && topic[0] == '$': // [MQTT-4.7.2-1]
			return false, true, append(hop, '$'+1)
		case level == "#":
			return true, false, hop
		case t > len(topic): // topic is a parent of what matches
			hop = append(append(hop, topic...), '/')
			if !wild {
				hop = append(hop, level...)
			}
			return false, true, hop
		}
		tend := levelEnd(topic, t)
		switch name := topic[t:tend]; {
		case wild:
			plus = tend
		case name < level:
			return false, true, append(append(hop, topic[:t]...), level...)
		case name > level:
			return aside(topic, plus, hop)
		}
		f, t = fend+1, tend+1
	}
	if t <= len(topic) { // deeper than the filter
		return aside(topic, plus, hop)
	}
	return true, false, hop
}

// aside goes on behind everything under topic[:end]; end is -1 if the walk is at its end.
func aside(topic string, end int, hop []byte) (matches, more bool, _ []byte) {
	if end < 0 {
		return false, false, hop
	}
	return false, true, append(append(hop, topic[:end]...), 0)
}

// seek returns the place of topic in level order, as chunk and index, and whether it is there.
func seek[T string | []byte](r *retained, topic T) (c, i int, found bool) {
	if len(r.chunks) == 0 {
		return 0, 0, false
	}
	c, found = slices.BinarySearchFunc(r.chunks, topic, func(chunk []*kept, t T) int { return compareLevels(chunk[0].topic, t) })
	if found {
		return c, 0, true
	}
	c = max(c-1, 0)
	i, found = slices.BinarySearchFunc(r.chunks[c], topic, func(k *kept, t T) int { return compareLevels(k.topic, t) })
	return c, i, found
}

// compareLevels compares in level order.
func compareLevels[T string | []byte](a string, b T) int {
	n := min(len(a), len(b))
	for i := range n {
		switch {
		case a[i] == b[i]:
		case a[i] == '/' || b[i] != '/' && a[i] < b[i]:
			return -1
		default:
			return 1
		}
	}
	return len(a) - len(b)
}

// insert puts k at its place.
func (r *retained) insert(k *kept) {
	c, i, found := seek(r, k.topic)
	switch {
	case found:
		first := r.chunks[c][i]
		k.next, first.next = first.next, k
		return
	case len(r.chunks) == 0:
		r.chunks = append(r.chunks, nil)
	}
	chunk := slices.Insert(r.chunks[c], i, k)
	r.chunks[c] = chunk
	if half := len(chunk) / 2; len(chunk) > chunkSize {
		r.chunks = slices.Insert(r.chunks, c+1, slices.Clone(chunk[half:]))
		r.chunks[c] = slices.Clone(chunk[:half])
	}
}

// remove takes k out, with those that say that it is not for their endpoint.
func (r *retained) remove(k *kept) {
	r.unexpire(k)
	r.account(r.count-1, r.bytes-k.size)
	c, i, _ := seek(r, k.topic)
	place := &r.chunks[c][i]
	for *place != k {
		place = &(*place).next
	}
	if *place = k.next; k.m.Target == "" {
		for place = &r.chunks[c][i]; *place != nil; {
			if gone := *place; len(gone.m.Payload) == 0 {
				*place = gone.next
				r.account(r.count-1, r.bytes-gone.size)
			} else {
				place = &gone.next
			}
		}
	}
	if r.chunks[c][i] == nil {
		r.shrink(c, i)
	}
}

// shrink takes out a place of which no message is left.
func (r *retained) shrink(c, i int) {
	chunk := slices.Delete(r.chunks[c], i, i+1)
	r.chunks[c] = chunk
	switch {
	case len(chunk) == 0:
		r.chunks = slices.Delete(r.chunks, c, c+1)
	case c > 0 && len(r.chunks[c-1])+len(chunk) <= chunkSize/2:
		r.chunks[c-1] = append(r.chunks[c-1], chunk...)
		r.chunks = slices.Delete(r.chunks, c, c+1)
	case len(chunk) < cap(chunk)/4:
		r.chunks[c] = slices.Clone(chunk)
	}
	if len(r.chunks) == 0 {
		r.chunks = nil
	}
}

func (r *retained) account(count, bytes int) {
	r.count, r.bytes = count, bytes
	r.stats.Retained.Store(int64(count))
	r.stats.RetainedBytes.Store(int64(bytes))
}

func (r *retained) expire(k *kept) {
	k.slot = -1
	if !k.m.Expires.IsZero() {
		heap.Push(&r.expiring, k)
	}
}

func (r *retained) unexpire(k *kept) {
	if k.slot >= 0 {
		heap.Remove(&r.expiring, k.slot)
	}
}

// expiring is a heap of the retained messages that expire, the next one first.
type expiring []*kept

func (e expiring) Len() int           { return len(e) }
func (e expiring) Less(i, j int) bool { return e[i].m.Expires.Before(e[j].m.Expires) }
func (e expiring) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].slot, e[j].slot = i, j
}
func (e *expiring) Push(k any) {
	k.(*kept).slot = len(*e)
	*e = append(*e, k.(*kept))
}
func (e *expiring) Pop() any {
	last := len(*e) - 1
	k := (*e)[last]
	(*e)[last], *e = nil, (*e)[:last]
	k.slot = -1
	return k
}

// overhead is about what a message costs beyond its own bytes, in memory.
const overhead = 400

// size is about how many bytes of memory a copy of m takes.
func size(m *linkspan.Message) int {
	n := overhead + len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.ResponseTopic) + len(m.CorrelationData) +
		len(m.Client) + len(m.Username) + len(m.Record.Key)
	for i := range m.UserProperties {
		n += 32 + len(m.UserProperties[i].Key) + len(m.UserProperties[i].Value)
	}
	for _, headers := range [...][]linkspan.Header{m.Record.Headers, m.AMQP} {
		for i := range headers {
			n += 40 + len(headers[i].Key) + len(headers[i].Value)
		}
	}
	return n
}
