package amqp

import (
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

// links knows which links there are, by name. A link is one of two containers, whatever connections these have, so a client that
// attaches one again takes it away from where it was [AMQP 2.6.1]: most often a connection whose end has not been noticed yet. A link
// that nobody has is suspended for as long as it was granted, so that the client can go on where it was [AMQP 2.6.13].
type links struct {
	cfg   *ListenerConfig
	stats *Stats

	mu        sync.Mutex
	owner     map[linkKey]owner
	suspended []*suspended // oldest first
	bytes     int          // of all suspended
	closed    bool         // nothing is suspended any more
}

// linkKey names a link among those of all clients. A container that only says that it is another's does not get the other's links.
type linkKey struct {
	username, container, name string
	sender                    bool // the client sends
}

// An owner is who has a link: a sender, a receiver, or nobody.
type owner interface {
	// steal ends the link and returns what there is of it. What it was about to do is done when it returns.
	steal() past
}

// A past is what an attachment of a link leaves to the next one; what is nil there is not of it.
type past struct {
	memory   *engine.Memory // the client sends
	receiver *receiver      // the client receives
}

// forget ends it for good.
func (p past) forget() {
	if p.receiver != nil {
		p.receiver.giveUp()
	}
}

// size is about how many bytes it takes.
func (p past) size() int {
	const link, trace, delivery = 2048, 256, 512
	n := link + trace*p.memory.Len()
	if p.receiver != nil {
		n += delivery * len(p.receiver.held)
	}
	return n
}

// claim gives a link to its new owner, and takes it from the old one. It reports whether that was attached.
func (l *links) claim(k linkKey, to owner) (from past, stolen bool) {
	l.mu.Lock()
	old := l.owner[k]
	if l.owner == nil {
		l.owner = map[linkKey]owner{}
	}
	l.owner[k] = to
	s, rests := old.(*suspended)
	if rests {
		l.drop(s)
	}
	l.mu.Unlock()
	if old == nil {
		return past{}, false
	}
	return old.steal(), !rests
}

// release forgets a link, if it is still that owner's.
func (l *links) release(k linkKey, from owner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner[k] == from {
		delete(l.owner, k)
	}
}

// A suspended is a link that no connection has.
type suspended struct {
	past
	links   *links
	key     linkKey
	lease   lease
	session *engine.Session // of its last attachment
	timer   *time.Timer
	bytes   int
	over    bool // guarded by links
}

func (s *suspended) steal() past { return s.past }

// suspend keeps the past of a link that its owner gives up, and returns it; nil: there is no room, or another owner has the link.
func (l *links) suspend(k linkKey, from owner, p past, of lease, session *engine.Session) *suspended {
	s := &suspended{past: p, links: l, key: k, lease: of, session: session, bytes: p.size()}
	l.mu.Lock()
	if l.owner[k] != from { // which has its past
		l.mu.Unlock()
		return nil
	}
	if l.closed || s.bytes > l.cfg.MaxSuspendedTotal || l.cfg.MaxSuspended == 0 {
		delete(l.owner, k)
		l.mu.Unlock()
		p.forget()
		return nil
	}
	var crowd []*suspended
	for len(l.suspended) >= l.cfg.MaxSuspended || l.bytes+s.bytes > l.cfg.MaxSuspendedTotal {
		old := l.suspended[0]
		delete(l.owner, old.key)
		l.drop(old)
		crowd = append(crowd, old)
	}
	l.owner[k] = s
	l.suspended = append(l.suspended, s)
	l.bytes += s.bytes
	l.stats.Suspended.Add(1)
	patience := of.timeout
	if of.policy != frame.ExpireLinkDetach {
		patience = l.cfg.ResumeTimeout // the end of session or connection sets it
	}
	s.timer = time.AfterFunc(patience, s.expire)
	l.mu.Unlock()
	for _, old := range crowd {
		old.forget()
	}
	return s
}

// drop takes a link out of those that are suspended. Called with l locked.
func (l *links) drop(s *suspended) {
	s.over = true
	s.timer.Stop()
	l.bytes -= s.bytes
	l.stats.Suspended.Add(-1)
	l.suspended = slices.DeleteFunc(l.suspended, func(o *suspended) bool { return o == s })
}

// expire ends a link that nobody came back to.
func (s *suspended) expire() {
	l := s.links
	l.mu.Lock()
	if s.over {
		l.mu.Unlock()
		return
	}
	delete(l.owner, s.key)
	l.drop(s)
	l.mu.Unlock()
	s.forget()
}

// ends says that what the expiry of the link was to begin with has come.
func (s *suspended) ends() {
	if s.lease.timeout <= 0 {
		s.expire()
		return
	}
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	if !s.over {
		s.timer.Reset(s.lease.timeout)
	}
}

func (s *suspended) isOver() bool {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	return s.over
}

// close ends all that is suspended, and all that would be.
func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	all := slices.Clone(l.suspended)
	l.mu.Unlock()
	for _, s := range all {
		s.expire()
	}
}

func errStolen() *frame.Error {
	return refuse(frame.Stolen, "The link has been attached by another connection of the same container")
}
