package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const lanes = 8

// owners is who runs what: it finds out whether two ever run the same lane at once.
type owners struct {
	t *testing.T

	mu  sync.Mutex
	by  [lanes]map[string]bool
	log []string
}

func newOwners(t *testing.T) *owners {
	o := &owners{t: t}
	for lane := range o.by {
		o.by[lane] = map[string]bool{}
	}
	return o
}

func (o *owners) enter(who string, lane int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.by[lane][who] = true
	o.log = append(o.log, fmt.Sprint(time.Now().Format("15:04:05.000 "), who, " has ", lane))
	if len(o.by[lane]) > 1 {
		o.t.Errorf("%v run lane %d at once:\n%s", o.by[lane], lane, o.story())
	}
}

func (o *owners) leave(who string, lane int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.by[lane], who)
	o.log = append(o.log, fmt.Sprint(time.Now().Format("15:04:05.000 "), who, " gives up ", lane))
}

func (o *owners) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = append(o.log, time.Now().Format("15:04:05.000 ")+what)
}

func (o *owners) story() (s string) {
	for _, line := range o.log[max(len(o.log)-60, 0):] {
		s += line + "\n"
	}
	return s
}

// count returns how many lanes each member runs.
func (o *owners) count() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := map[string]int{}
	for _, by := range o.by {
		for who := range by {
			n[who]++
		}
	}
	return n
}

func (o *owners) total() (n int) {
	for _, k := range o.count() {
		n += k
	}
	return n
}

// reach lets time pass until ok, at most for a while, and returns how long it was.
func (o *owners) reach(what string, most time.Duration, ok func() bool) time.Duration {
	o.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > most {
			o.t.Fatalf("no %s within %v:\n%s", what, most, o.story())
		}
		pass(time.Millisecond)
	}
	return time.Since(start)
}

// A crew is one process that shares lanes with others.
type crew struct {
	name   string
	client *Client
	link   *link
	shards *Shards
	cancel context.CancelFunc
	ended  chan error
}

// join starts a member whose lanes run until they are to end.
func (o *owners) join(n *network, name string) *crew {
	return o.joinWith(n, name, func(ctx context.Context, lane int32) error {
		o.enter(name, lane)
		<-ctx.Done()
		o.leave(name, lane)
		return ctx.Err()
	})
}

func (o *owners) joinWith(n *network, name string, own func(ctx context.Context, lane int32) error) *crew {
	c, l := n.client(o.t)
	m := &crew{name: name, client: c, link: l, shards: c.NewShards(ShardsConfig{Topic: "shards", Group: "g"}), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	o.note(name + " comes")
	go func() { m.ended <- m.shards.Run(ctx, Work{Leased: own}) }()
	return m
}

// stop ends a member in good order.
func (o *owners) stop(m *crew) {
	o.t.Helper()
	o.note(m.name + " goes")
	m.cancel()
	start := time.Now()
	if err := <-m.ended; err != nil {
		o.t.Errorf("%s: %v", m.name, err)
	}
	if took := time.Since(start); took > 10*time.Second { // P8, whatever Kafka does
		o.t.Errorf("%s takes %v to stop:\n%s", m.name, took, o.story())
	}
	m.client.Close()
	m.link.change(true, true)
}

func shardsVirtually(t *testing.T, test func(t *testing.T, n *network, o *owners)) {
	t.Helper()
	virtually(t, func(t *testing.T, n *network) { test(t, n, newOwners(t)) }, kfake.SeedTopics(lanes, "shards"))
}

// P7: lanes are shared out, handed over when a member leaves, and taken over when one dies or is cut off, well within ten
// seconds. The one that is cut off gives up its lanes by itself, before another has them.
func TestShardsTakeOver(t *testing.T) {
	shardsVirtually(t, func(t *testing.T, n *network, o *owners) {
		a := o.join(n, "a")
		<-a.shards.Ready()
		o.reach("owner", 2*time.Second, func() bool { return o.total() == lanes })
		b := o.join(n, "b")
		even := func() bool { return o.count()["a"] == lanes/2 && o.count()["b"] == lanes/2 }
		o.reach("even share", 5*time.Second, even)
		if !slices.Equal(slices.Sorted(slices.Values(append(a.shards.Owned(), b.shards.Owned()...))), []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("owned %v and %v", a.shards.Owned(), b.shards.Owned())
		}

		t.Logf("a member leaves: %v until the other has its lanes", func() time.Duration {
			o.stop(b)
			return o.reach("handing over", 2*time.Second, func() bool { return o.count()["a"] == lanes })
		}())

		b = o.join(n, "b")
		o.reach("even share", 5*time.Second, even)
		a.link.change(false, false)
		t.Logf("a member is cut off: %v until it gives up its lanes, %v more until the other has them",
			o.reach("giving up", 6*time.Second, func() bool { return o.count()["a"] == 0 }),
			o.reach("taking over", 2*time.Second, func() bool { return o.count()["b"] == lanes }))
		if a.shards.Owned() != nil {
			t.Errorf("owns %v without a lease", a.shards.Owned())
		}
		pass(time.Minute)
		a.link.change(true, false)
		o.reach("even share", 10*time.Second, even)

		b.link.change(true, true)
		t.Logf("a member dies: %v until the other has its lanes", o.reach("taking over", 8*time.Second, func() bool { return o.count()["a"] == lanes }))
		b.link.change(true, false)
		o.reach("even share", 10*time.Second, even)
		o.stop(a)
		o.stop(b)
		if o.total() != 0 {
			t.Errorf("%v are left", o.count())
		}
	})
}

// A lane is handed over only after what runs on it has ended, and while that takes its time the member stays one.
func TestShardsHandOverWaits(t *testing.T) {
	shardsVirtually(t, func(t *testing.T, n *network, o *owners) {
		a := o.joinWith(n, "a", func(ctx context.Context, lane int32) error {
			o.enter("a", lane)
			<-ctx.Done()
			pass(8 * time.Second) // longer than a session
			o.leave("a", lane)
			return nil
		})
		o.reach("owner", 2*time.Second, func() bool { return o.total() == lanes })
		b := o.join(n, "b")
		o.reach("even share", 20*time.Second, func() bool { return o.count()["b"] == lanes/2 })
		if s := a.shards.Stats(); s.Lost.Load() != 0 || s.Returned.Load() != lanes/2 {
			t.Errorf("%d lost, %d returned", s.Lost.Load(), s.Returned.Load())
		}
		o.stop(a)
		o.reach("handing over", 2*time.Second, func() bool { return o.count()["b"] == lanes })
		o.stop(b)
	})
}

// What runs on a lane for too long is left behind: the others do not wait for ever. It is not begun again before it ends.
func TestShardsHandOverIsBounded(t *testing.T) {
	shardsVirtually(t, func(t *testing.T, n *network, o *owners) {
		var running atomic.Int32
		stuck := make(chan struct{})
		a := o.joinWith(n, "a", func(ctx context.Context, lane int32) error {
			if running.Add(1) > lanes {
				t.Error("a lane runs twice")
			}
			<-stuck
			running.Add(-1)
			return nil
		})
		o.reach("owner", 2*time.Second, func() bool { return running.Load() == lanes })
		b := o.join(n, "b")
		o.reach("taking over", 40*time.Second, func() bool { return o.count()["b"] == lanes/2 })
		o.stop(b)
		pass(10 * time.Second) // a has all again, and waits for what it began
		close(stuck)
		o.reach("end", time.Second, func() bool { return running.Load() == 0 })
		o.stop(a)
	})
}

// The lease ends whatever the reason for which heartbeats are not answered, and begins again with the first that is.
func TestShardsLeaseEnds(t *testing.T) {
	shardsVirtually(t, func(t *testing.T, n *network, o *owners) {
		a := o.join(n, "a")
		o.reach("owner", 2*time.Second, func() bool { return o.total() == lanes })
		for _, fault := range []kfake.Fault{
			{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorLoadInProgress, Count: -1},
			{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.NotCoordinator, Count: -1},
			{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: -1},
		} {
			h := n.cluster.Fault(fault)
			o.reach("end of the lease", 6*time.Second, func() bool { return o.total() == 0 })
			pass(20 * time.Second)
			if o.total() != 0 {
				t.Errorf("%v: %v run without a lease", fault.Err, o.count())
			}
			h.Remove()
			o.reach("lease", 20*time.Second, func() bool { return o.total() == lanes })
		}
		o.stop(a)
	})
}

// What has a fence of its own goes on when the lease is over, as in an outage of Kafka, and is told that it is over; it ends when
// the lane is another's.
func TestShardsFencedWorkOutlivesTheLease(t *testing.T) {
	shardsVirtually(t, func(t *testing.T, n *network, o *owners) {
		fenced := newOwners(t)
		c, l := n.client(t)
		s := c.NewShards(ShardsConfig{Topic: "shards", Group: "g"})
		ctx, cancel := context.WithCancel(context.Background())
		run := func(o *owners) func(context.Context, int32) error {
			return func(ctx context.Context, lane int32) error {
				o.enter("a", lane)
				<-ctx.Done()
				o.leave("a", lane)
				return ctx.Err()
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, Work{Leased: run(o), Fenced: run(fenced)}) }()
		both := func(n int) func() bool { return func() bool { return o.total() == n && fenced.total() == n } }
		o.reach("owner", 2*time.Second, both(lanes))
		if !s.Lease(ctx) {
			t.Error("no lease")
		}

		l.change(false, false)
		o.reach("end of the lease", 7*time.Second, func() bool { return o.total() == 0 })
		pass(time.Minute)
		if n := fenced.total(); n != lanes {
			t.Errorf("%d lanes go on without a lease", n)
		}
		moment, end := context.WithTimeout(ctx, time.Second)
		if s.Lease(moment) {
			t.Error("a lease while cut off")
		}
		end()

		b := o.join(n, "b")
		o.reach("taking over", 8*time.Second, func() bool { return o.count()["b"] == lanes })
		l.change(true, false)
		o.reach("even share", 20*time.Second, func() bool { return fenced.total() == lanes/2 && o.count()["a"] == lanes/2 })
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := fenced.total(); n != 0 {
			t.Errorf("%d lanes are left", n)
		}
		o.stop(b)
		c.Close()
		l.change(true, true)
	})
}

// What fails on a lane begins again, after a while; what has nothing to do is left alone.
func TestShardsBeginAgain(t *testing.T) {
	shardsVirtually(t, func(t *testing.T, n *network, o *owners) {
		var calls [lanes]atomic.Int32
		a := o.joinWith(n, "a", func(_ context.Context, lane int32) error {
			if calls[lane].Add(1); lane == 0 {
				return errors.New("not now")
			}
			return nil
		})
		pass(time.Minute)
		if n := calls[0].Load(); n < 30 || n > 200 {
			t.Errorf("%d attempts in a minute", n)
		}
		for lane := 1; lane < lanes; lane++ {
			if n := calls[lane].Load(); n != 1 {
				t.Errorf("lane %d was begun %d times", lane, n)
			}
		}
		o.stop(a)
		if err := a.shards.Run(context.Background(), Work{}); err == nil {
			t.Error("runs twice")
		}
	})
}

// P7, with random cuts, breaks, deaths and changes of the crew: no two members ever run a lane at once, and in the end none is
// without owner.
func TestShardsRandomly(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			shardsVirtually(t, func(t *testing.T, n *network, o *owners) { randomly(n, o, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// expire ends the sessions of all that are silent by now. Kafka does so by itself, the fake one loses the timer of a new member whose
// connection ends while it waits to join.
func (o *owners) expire(but *crew) {
	alive, _ := but.shards.kgo.GroupMetadata()
	for _, m := range but.link.n.cluster.GroupInfo("g").Members {
		if m.MemberID == alive {
			continue
		}
		o.note("a ghost is expired")
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = "g"
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: m.MemberID}}
		if _, err := req.RequestWith(context.Background(), but.client.kgo); err != nil {
			o.t.Error(err)
		}
	}
}

func randomly(n *network, o *owners, rng *rand.Rand) {
	var all []*crew
	join := func() { all = append(all, o.join(n, fmt.Sprint("m", len(all)))) }
	join()
	join()
	present := slices.Clone(all)
	for range 30 {
		pass(time.Duration(rng.IntN(1<<rng.IntN(14))) * time.Millisecond)
		m := present[rng.IntN(len(present))]
		switch k := rng.IntN(10); {
		case k < 3:
			o.note(m.name + " is cut off")
			m.link.change(false, false)
		case k < 5:
			o.note(m.name + " is broken off")
			m.link.change(true, true)
		case k < 8:
			o.note(m.name + " is mended")
			m.link.change(true, false)
		case k < 9 && len(present) < 4:
			join()
			present = append(present, all[len(all)-1])
		case len(present) > 2:
			o.stop(m)
			present = slices.DeleteFunc(present, func(x *crew) bool { return x == m })
		}
	}
	for _, m := range present[1:] {
		m.link.change(false, false)
	}
	present[0].link.change(true, false)
	o.note(present[0].name + " alone is there")
	pass(30 * time.Second) // for sessions and rebalances to end
	o.expire(present[0])
	o.reach("owner of each lane", 30*time.Second, func() bool { return o.count()[present[0].name] == lanes })
	for _, m := range present {
		m.link.change(true, false)
	}
	for _, m := range present {
		o.stop(m)
	}
}
