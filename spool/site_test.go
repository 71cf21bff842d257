package spool

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// A site is a spool between devices and a cluster, with a disk in memory. It lives in the virtual time of synctest.
type site struct {
	t       *testing.T
	cfg     Config
	lanes   []Lane
	cluster *cluster
	to      linkspan.Keeper // cluster, unless a test wants something between
	disk    *journaltest.Disk
	offline atomic.Bool
	bytes   int64 // DrainBytes
	longest int   // window; 0: as it is
	spool   *Spool
	stop    func() error

	mu      sync.Mutex
	acks    []string         // payloads that were done with nil, in this order
	errs    map[string]error // of the others
	letters []letter
	bury    func(payload string) error // what becomes of a dead letter; nil: all are taken
}

type letter struct {
	payload, why, topic, route string
	attempts                   int
}

func newSite(t *testing.T, lanes ...Lane) *site {
	x := &site{t: t, cfg: Default(), lanes: lanes, cluster: newCluster(), disk: journaltest.New(), errs: map[string]error{}}
	x.to = x.cluster
	x.cfg.Dir, x.cfg.MinFree, x.cfg.MaxBytes, x.cfg.SegmentBytes = "/spool", 0, 1<<20, 64<<10
	return x
}

// start opens and runs the spool. The test's end stops it, unless it was killed.
func (x *site) start() {
	x.t.Helper()
	s, err := Open(x.cfg, x.lanes, Parts{
		To: x.to, DrainBytes: x.bytes, Connected: func() bool { return !x.offline.Load() }, OS: x.disk,
		Bury: func(_ context.Context, m *linkspan.Message, why error, attempts int, done func(error)) {
			x.mu.Lock()
			var err error
			if x.bury != nil {
				err = x.bury(string(m.Payload))
			}
			if err == nil {
				x.letters = append(x.letters, letter{string(m.Payload), why.Error(), m.Topic, m.Route, attempts})
			}
			x.mu.Unlock()
			done(err)
		},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		x.t.Fatal(err)
	}
	if x.spool = s; x.longest > 0 {
		s.longest = x.longest
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	x.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	x.t.Cleanup(func() {
		_ = x.stop()
		for _, w := range x.cluster.wrong {
			x.t.Error(w)
		}
	})
}

// send sends a message of lane with a key, whose first byte is the partition.
func (x *site) send(lane, key, payload string) { x.sendAs(lane, key, payload, false) }

func (x *site) sendAs(lane, key, payload string, mute bool) {
	m := &linkspan.Message{
		Topic: "from/" + key, Payload: []byte(payload), Route: lane, Endpoint: "devices", Received: time.Now(), Mute: mute,
		Record: linkspan.Record{Topic: "to", Partition: linkspan.AnyPartition, Key: []byte(key), Headers: []linkspan.Header{{Key: "h", Value: []byte(payload)}}},
	}
	once := false
	x.spool.Send(context.Background(), m, func(err error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if once {
			x.t.Errorf("done of %s was called twice", payload)
		}
		once = true
		if err != nil {
			x.errs[payload] = err
		} else {
			x.acks = append(x.acks, payload)
		}
	})
	for i := range m.Payload { // it was only borrowed
		m.Payload[i] = '!'
	}
	for i := range m.Record.Key {
		m.Record.Key[i] = '!'
	}
}

// sendMany sends n messages named after prefix.
func (x *site) sendMany(lane, key, prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s%04d", prefix, i))
		x.send(lane, key, names[i])
	}
	return names
}

// pass lets time pass, and waits until everyone has come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	if d > 0 {
		time.Sleep(d)
	}
}

func (x *site) acked() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.acks)
}

func (x *site) lane(name string) LaneStatus {
	x.t.Helper()
	for _, l := range x.spool.Status().Lanes {
		if l.Name == name {
			return l
		}
	}
	x.t.Fatalf("no lane %s", name)
	return LaneStatus{}
}

// same fails the test unless got is want, in this order.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %d %v, want %d %v", what, len(got), short(got), len(want), short(want))
	}
}

func short(s []string) []string {
	if len(s) > 30 {
		return append(slices.Clone(s[:30]), "...")
	}
	return s
}

func (x *site) wantWay(lane string, w Way) {
	x.t.Helper()
	if got := x.lane(lane); got.Way != w {
		x.t.Fatalf("lane %s is %v, want %v: %+v", lane, got.Way, w, got)
	}
}

// in runs a test in virtual time.
func in(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }
