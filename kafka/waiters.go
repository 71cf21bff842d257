package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// waiters vouch for the members of groups that the embedded broker lets wait.
//
// A member that has asked to join, or for its share, sends no heartbeats until it is answered. That takes until all others have
// joined, or the session of one that is dead has ended. Kafka takes it for alive meanwhile. This broker does not: where the session
// of the one that waits ends first, it is given up and never answered, and its group stands still until it gives up too, for more than its
// RebalanceTimeout. Nor does the broker give up a new member that dies while it waits: nobody ever reads what that is given. Heartbeats
// in their names mend both.
type waiters struct {
	cluster *kfake.Cluster
	kgo     *kgo.Client
	wake    chan struct{} // holds one: there may be the first waiter

	mu   sync.Mutex
	list map[waiter]wait
}

// A waiter is a member of a group.
type waiter struct{ group, member string }

// A wait is over when its group is in another state or generation.
type wait struct {
	state      string
	generation int32   // -1: not known yet
	instance   *string // of a static member
}

const (
	// vouchInterval is between heartbeats: a quarter of the shortest session.
	vouchInterval = minSession / 4
	// minSession is the shortest session of a member. Kafka: group.min.session.timeout.ms.
	minSession = time.Second
)

// newWaiters returns the waiters of a cluster that can be reached at addr. They are to be run.
func newWaiters(cluster *kfake.Cluster, addr string, opts ...kgo.Opt) (*waiters, error) {
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr))...)
	if err != nil {
		return nil, err
	}
	w := &waiters{cluster: cluster, kgo: client, wake: make(chan struct{}, 1), list: map[waiter]wait{}}
	cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup}, Observe: true, Count: -1,
		When: func(req kmsg.Request) bool { w.notice(req); return false },
	})
	return w, nil
}

// notice is called in the broker's loop before it sees to a request.
func (w *waiters) notice(req kmsg.Request) {
	w.mu.Lock()
	switch r := req.(type) {
	case *kmsg.JoinGroupRequest:
		if r.MemberID != "" { // or it is told its name, and asks again
			w.list[waiter{r.Group, r.MemberID}] = wait{"PreparingRebalance", -1, r.InstanceID}
		}
	case *kmsg.SyncGroupRequest:
		w.list[waiter{r.Group, r.MemberID}] = wait{"CompletingRebalance", r.Generation, r.InstanceID}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run vouches for all who wait, until ctx ends.
func (w *waiters) run(ctx context.Context) {
	defer w.kgo.Close()
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
		for w.vouch(ctx) && sleep(ctx, vouchInterval) == nil {
		}
	}
}

// vouch sends a heartbeat for each who still waits, and reports whether somebody does.
func (w *waiters) vouch(ctx context.Context) bool {
	w.mu.Lock()
	list := w.list
	w.list = map[waiter]wait{}
	w.mu.Unlock()
	for m, at := range list {
		g := w.cluster.GroupInfo(m.group)
		if g == nil || g.State != at.state || at.generation >= 0 && at.generation != g.Epoch {
			continue
		}
		at.generation = g.Epoch
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID, beat.Generation, beat.InstanceID = m.group, m.member, at.generation, at.instance
		_, _ = w.kgo.SeedBrokers()[0].Request(ctx, beat) // if it comes too late, the wait is over
		w.mu.Lock()
		if _, again := w.list[m]; !again {
			w.list[m] = at
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.list) > 0
}
