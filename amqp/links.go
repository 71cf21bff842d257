package amqp

import (
	"sync"

	"github.com/linkspan/linkspan/amqp/frame"
)

// links knows which links there are, by name. A link is one of two containers, whatever connections these have, so a client that
// attaches one again takes it away from where it was [AMQP 2.6.1]: most often a connection whose end has not been noticed yet.
type links struct {
	mu    sync.Mutex
	owner map[linkKey]owner
}

// linkKey names a link among those of all clients. A container that only says that it is another's does not get the other's links.
type linkKey struct {
	username, container, name string
	sender                    bool // the client sends
}

// An owner is who has a link: a sender or a receiver.
type owner interface {
	// steal ends the link. What it was about to do is done when it returns.
	steal()
}

// claim gives a link to its new owner, and takes it from the old one. It reports whether there was one.
func (l *links) claim(k linkKey, to owner) (stolen bool) {
	l.mu.Lock()
	old := l.owner[k]
	if l.owner == nil {
		l.owner = map[linkKey]owner{}
	}
	l.owner[k] = to
	l.mu.Unlock()
	if old != nil {
		old.steal()
	}
	return old != nil
}

// release forgets a link, if it is still that owner's.
func (l *links) release(k linkKey, from owner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner[k] == from {
		delete(l.owner, k)
	}
}

func errStolen() *frame.Error {
	return refuse(frame.Stolen, "The link has been attached by another connection of the same container")
}
