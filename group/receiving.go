package group

import (
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// A Receiver is who gets the records. Its methods are called with nothing locked, may call everything, and must not block.
type Receiver interface {
	// Deliver hands over a record, which is borrowed until it returns, and the way to settle it. It returns false where it does not take the
	// record, for want of credit, or since it is [Delivery.Overtaken]: then d is void, and in the first case nothing more comes until
	// [Receiving.Resume]. Records of one partition come one after the other, those of several at the same time.
	Deliver(m *linkspan.Message, d *Delivery) (taken bool)
	// Idle says that there is no partition for this receiver: it is one too many. It may leave, or stay for the case
	// that another one leaves.
	Idle()
	// Gone says that nothing comes any more, and why: linkspan.ErrClosed at the end. What is unsettled is void. It need not leave.
	Gone(err error)
}

// A Receiving is one receiver's membership.
type Receiving struct {
	team    *team
	to      atomic.Pointer[Receiver]
	full    atomic.Bool   // had no credit when it was last asked
	resumes atomic.Uint64 // calls of Resume

	// Guarded by the team's lock.

	topic  *topic
	left   bool
	homes  int         // partitions that it has, or will have once they can move
	idle   bool        // it has none, and was told so
	lonely *time.Timer // tells it; nil while it has one
}

// receiving returns the membership of a receiver.
func (t *team) receiving(to Receiver) *Receiving {
	rc := &Receiving{team: t}
	rc.to.Store(&to)
	return rc
}

// Pass puts another receiver in the place of the one that had it, which keeps what is unsettled: that can still be settled. The new one
// is to call Resume once it can receive; until then it may be asked in vain. A Deliver of the old one that is under way may return
// after Pass.
func (rc *Receiving) Pass(to Receiver) { rc.to.Store(&to) }

// Resume says that the receiver has credit again.
func (rc *Receiving) Resume() {
	rc.resumes.Add(1)
	if rc.full.Swap(false) {
		rc.team.wake(rc)
	}
}

// stall notes that the receiver had no credit, after so many calls of Resume.
func (rc *Receiving) stall(resumes uint64) {
	rc.full.Store(true)
	if rc.resumes.Load() != resumes && rc.full.Swap(false) {
		rc.team.wake(rc)
	}
}

// Leave gives back all that is unsettled, in order, to whoever comes next; each counts as delivered in vain, as nobody knows what became
// of it here. Settling any of it does nothing any more. A Deliver that is under way may return after Leave; its delivery is void. Safe
// to call twice, and from the methods of the receiver.
func (rc *Receiving) Leave() { rc.team.leave(rc) }
