package route

import (
	"hash/maphash"
	"sync/atomic"
)

// A plan is what all messages of one topic and endpoint have in common. It never changes.
type plan struct {
	endpoint, topic string // what it is for; on the way down the Kafka topic and ""
	client          bool   // the endpoint dials a broker
	asks            bool   // its senders may ask for key and partition: AMQP

	route    *route
	refusal  error // no message of this topic goes through
	captures []string
	name     string // the topic on the other side; "" where messages differ
	key      string // where messages do not differ
	codec    string // "": that of the endpoint
}

// A cache remembers plans. It has a fixed number of places, and two topics that want the same one displace each other,
// so it stays as large as it is whatever devices publish to (P6), and needs no lock and no list of what is old.
type cache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[plan]
}

// maxCached is the length of the longest topic that is remembered, in bytes: with it the memory of a cache is bounded
// too.
const maxCached = 512

// newCache makes a cache of at least size places.
func newCache(size int) *cache {
	n := 2
	for n < size {
		n *= 2
	}
	return &cache{maphash.MakeSeed(), make([]atomic.Pointer[plan], n)}
}

// hash spreads topics in a way that nobody outside can foresee.
func (c *cache) hash(endpoint, topic string) uint64 {
	return maphash.String(c.seed, topic) ^ maphash.String(c.seed, endpoint)>>1
}

// get returns the plan for a topic, nil where it is not remembered. A plan is in one of two neighbouring places.
func (c *cache) get(endpoint, topic string) *plan {
	i := c.hash(endpoint, topic) & uint64(len(c.slots)-1)
	for _, i := range [2]uint64{i, i ^ 1} {
		if p := c.slots[i].Load(); p != nil && p.topic == topic && p.endpoint == endpoint {
			return p
		}
	}
	return nil
}

// put remembers a plan, in place of another if need be.
func (c *cache) put(p *plan) {
	if len(p.topic) > maxCached {
		return
	}
	h := c.hash(p.endpoint, p.topic)
	i := h & uint64(len(c.slots)-1)
	if c.slots[i].Load() != nil && (c.slots[i^1].Load() == nil || h>>63 == 1) {
		i ^= 1
	}
	c.slots[i].Store(p)
}
