package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A talker is a member of a group that says just what it is told to say.
type talker struct {
	t          *testing.T
	c          *Client
	group, id  string
	generation int32
	leader     bool
}

// talkers has a test have a Kafka that vouches for who waits, in virtual time, and two members of a group.
func talkers(t *testing.T, test func(t *testing.T, n *network, a, b *talker)) {
	t.Helper()
	virtually(t, func(t *testing.T, n *network) {
		w, err := newWaiters(n.cluster, n.cluster.ListenAddrs()[0], kgo.Dialer(n.wire.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		a, b := n.talker(t), n.talker(t)
		defer a.c.Close()
		defer b.c.Close()
		a.stable(<-a.join())
		test(t, n, a, b)
	})
}

func (n *network) talker(t *testing.T) *talker {
	c, _ := n.client(t)
	return &talker{t: t, c: c, group: "g"}
}

const (
	talkerSession   = 6 * time.Second
	talkerRebalance = time.Minute
)

// join asks to join, and is in the broker's loop when it returns.
func (a *talker) join() <-chan error {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = a.group, a.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(talkerSession.Milliseconds()), int32(talkerRebalance.Milliseconds())
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"t"}
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
	if a.id == "" {
		resp, err := req.RequestWith(a.t.Context(), a.c.kgo)
		if err != nil || resp.ErrorCode != kerr.MemberIDRequired.Code {
			a.t.Fatal(resp, err)
		}
		a.id, req.MemberID = resp.MemberID, resp.MemberID
	}
	return a.ask(func(ctx context.Context) error {
		resp, err := req.RequestWith(ctx, a.c.kgo)
		if err != nil {
			return err
		}
		a.generation, a.leader = resp.Generation, resp.LeaderID == resp.MemberID
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// sync asks for what it is given.
func (a *talker) sync() <-chan error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = a.group, a.id, a.generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	return a.ask(func(ctx context.Context) error {
		resp, err := req.RequestWith(ctx, a.c.kgo)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// ask asks, and returns when the question has arrived.
func (a *talker) ask(f func(ctx context.Context) error) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- f(a.t.Context()) }()
	pass(100 * time.Millisecond)
	return answer
}

func (a *talker) heartbeat() error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = a.group, a.id, a.generation
	resp, err := req.RequestWith(a.t.Context(), a.c.kgo)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// stable has a leader that has joined alone, or with others that are silent, finish.
func (a *talker) stable(joined error) {
	a.t.Helper()
	if joined != nil || !a.leader {
		a.t.Fatalf("joined: %v, the leader: %v", joined, a.leader)
	}
	if err := <-a.sync(); err != nil {
		a.t.Fatal(err)
	}
}

// in waits for an answer, in less time than a rebalance may take.
func (a *talker) in(answer <-chan error, want error) {
	a.t.Helper()
	select {
	case err := <-answer:
		if !errors.Is(err, want) {
			a.t.Fatalf("answered with %v, want %v", err, want)
		}
	case <-time.After(talkerRebalance / 2):
		a.t.Fatal("not answered")
	}
}

// A member that waits for its share while the leader dies is told to join again, when the leader's session has ended.
func TestWaitingForADeadLeader(t *testing.T) {
	t.Parallel()
	talkers(t, func(t *testing.T, _ *network, a, b *talker) {
		joined := b.join()
		a.in(a.join(), nil)
		b.in(joined, nil)
		share := b.sync()
		if err := a.heartbeat(); err != nil || !a.leader {
			t.Fatal(err, a.leader)
		}
		b.in(share, kerr.RebalanceInProgress) // a says nothing more
		b.stable(<-b.join())
	})
}

// A member that has joined while another dies has the group for itself, when the other's session has ended.
func TestWaitingForADeadFollower(t *testing.T) {
	t.Parallel()
	talkers(t, func(t *testing.T, _ *network, a, b *talker) {
		joined := b.join()
		a.in(a.join(), nil)
		b.in(joined, nil)
		share := b.sync()
		a.in(a.sync(), nil)
		b.in(share, nil)

		joined = a.join()
		if err := b.heartbeat(); !errors.Is(err, kerr.RebalanceInProgress) {
			t.Fatal(err)
		}
		a.in(joined, nil) // b says nothing more
		a.stable(nil)
	})
}

// A new member that dies while it waits is given up when its session has ended, whatever it has been given.
func TestDeathOfANewMember(t *testing.T) {
	t.Parallel()
	for range 10 { // the broker may not know yet that it is dead when it answers
		talkers(t, func(t *testing.T, n *network, a, _ *talker) {
			c := n.talker(t)
			c.join()
			c.c.Close()
			pass(100 * time.Millisecond)
			a.in(a.join(), nil)
			a.stable(nil)
			for range talkerSession / time.Second {
				if a.heartbeat() != nil {
					break
				}
				pass(time.Second)
			}
			a.in(a.join(), nil)
			a.stable(nil)
			if g := n.cluster.GroupInfo(a.group); len(g.Members) != 1 {
				t.Errorf("the group has %d members", len(g.Members))
			}
		})
	}
}

// The embedded broker vouches for who waits.
func TestEmbeddedVouches(t *testing.T) {
	t.Parallel()
	e := embedded(t, embeddedConfig(t.TempDir()))
	beats := e.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Observe: true, Count: -1})
	a := &talker{t: t, c: connect(t, testConfig(e.Addr())), group: "g"}
	b := &talker{t: t, c: connect(t, testConfig(e.Addr())), group: "g"}
	a.stable(<-a.join())
	joined := b.join()
	if err := beats.Wait(testContext(t), 2); err != nil {
		t.Fatal("nobody vouches for the second, which waits for the first to join again")
	}
	a.in(a.join(), nil)
	b.in(joined, nil)
}
