package client

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// echoes remembers what we published to topics that we subscribe to ourselves, for subscriptions that do not know No Local
// [MQTT 3.8.3.1]: the copy that comes back is no message of a device. Each is dropped as often as it was published, for a
// while; a copy that comes later, or was published while maxEchoes were remembered, passes.
type echoes struct {
	seed maphash.Seed
	some atomic.Int32 // how many are remembered

	mu    sync.Mutex
	known map[uint64]echo
	swept time.Time
}

type echo struct {
	times int
	last  time.Time
}

const (
	maxEchoes = 16 << 10
	echoAge   = 30 * time.Second
)

// sum identifies a message by what every broker passes on unchanged.
func (e *echoes) sum(topic string, payload []byte) uint64 {
	return maphash.String(e.seed, topic)*31 ^ maphash.Bytes(e.seed, payload)
}

// add remembers a message that is about to be published.
func (e *echoes) add(hash uint64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil {
		e.known = map[uint64]echo{}
	}
	if now.Sub(e.swept) > echoAge {
		e.swept = now
		for h, k := range e.known {
			if now.Sub(k.last) > echoAge {
				delete(e.known, h)
			}
		}
	}
	k, ok := e.known[hash]
	if !ok && len(e.known) >= maxEchoes {
		return
	}
	e.known[hash] = echo{k.times + 1, now}
	e.some.Store(int32(len(e.known)))
}

// take reports whether a message that came in is one of ours, and forgets it once.
func (e *echoes) take(hash uint64, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.known[hash]
	if !ok {
		return false
	}
	if k.times--; k.times > 0 {
		e.known[hash] = k
	} else {
		delete(e.known, hash)
		e.some.Store(int32(len(e.known)))
	}
	return now.Sub(k.last) <= echoAge
}
