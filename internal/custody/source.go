package custody

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/linkspan/linkspan"
)

// Near is a Source with its near end under the control of the suite.
type Near struct {
	Source linkspan.Source
	// Feed gives the source message i, whose payload is Payload(i). It may return before the source has read it.
	Feed func(i int)
	// Settled returns how many messages the near end regards as handed on: acknowledged, or committed.
	Settled func() int
	// Window is how many messages the source hands over before the first is settled; the suite feeds no more at once.
	Window int
	// Retries is whether the source hands a message over again after a passing failure. One that does not leaves it
	// unsettled at its near end, which has custody.
	Retries bool
}

var sourceChecks = []struct {
	name string
	run  func(*Near, *hold) error
}{
	{"every message is handed over and settled", handsOver},
	{"nothing is settled before the sink has custody", settlesAfter},
	{"only the settled prefix counts", settlesPrefix},
	{"a passing failure is not settled", keepsFailed},
	{"what is refused does not block what follows", passesRefused},
	{"run returns after what it handed over is settled", drains},
}

// TestSource runs every clause of the Source contract against a fresh source from newNear.
func TestSource(t *testing.T, newNear func(t *testing.T) *Near) {
	for _, c := range sourceChecks {
		t.Run(c.name, func(t *testing.T) {
			if err := runSource(newNear(t), c.run); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// runSource runs the source into a sink that holds everything, and check beside it.
func runSource(near *Near, check func(*Near, *hold) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	h := &hold{cancel: cancel, ended: make(chan struct{})}
	var runErr error
	go func() {
		defer close(h.ended)
		runErr = near.Source.Run(ctx, h)
	}()
	err := check(near, h)
	cancel()
	h.releaseAll()
	if e := until("Run to return", h.hasEnded); e != nil {
		return errors.Join(err, e)
	}
	if err == nil && runErr != nil {
		err = fmt.Errorf("Run returned %w after its context ended", runErr)
	}
	if err == nil && h.late() {
		err = errors.New("Send was called after Run returned")
	}
	return err
}

// hold is a Sink that keeps what it is sent until told what to do with it.
type hold struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex
	got   []string
	done  []func(error)
	auto  bool // confirm at once
	tardy bool
}

var _ linkspan.Sink = (*hold)(nil)

func (h *hold) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	h.mu.Lock()
	if h.hasEnded() {
		h.tardy = true
	}
	h.got = append(h.got, string(m.Payload))
	auto := h.auto
	if auto {
		h.done = append(h.done, nil)
	} else {
		h.done = append(h.done, done)
	}
	h.mu.Unlock()
	if auto {
		done(nil)
	}
}

func (h *hold) hasEnded() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

func (h *hold) late() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tardy
}

func (h *hold) payloads() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

// finish completes the i-th Send.
func (h *hold) finish(i int, err error) {
	h.mu.Lock()
	done := h.done[i]
	h.done[i] = nil
	h.mu.Unlock()
	if done != nil {
		done(err)
	}
}

func (h *hold) releaseAll() {
	h.mu.Lock()
	h.auto = true
	waiting := slices.Clone(h.done)
	clear(h.done)
	h.mu.Unlock()
	for _, done := range waiting {
		if done != nil {
			done(nil)
		}
	}
}

func (h *hold) handed(n int) error {
	return until(fmt.Sprintf("%d messages to be handed over", n), func() bool { return len(h.payloads()) >= n })
}

func (n *Near) settled(want int) error {
	return until(fmt.Sprintf("%d messages to be settled", want), func() bool { return n.Settled() >= want })
}

func handsOver(n *Near, h *hold) error {
	h.releaseAll()
	for i := range 200 {
		n.Feed(i)
	}
	if err := errors.Join(h.handed(200), n.settled(200)); err != nil {
		return err
	}
	return firstInOrder(h.payloads(), 200)
}

func settlesAfter(n *Near, h *hold) error {
	for i := range min(n.Window, 5) {
		n.Feed(i)
	}
	if err := h.handed(min(n.Window, 5)); err != nil {
		return err
	}
	if s := n.Settled(); s != 0 {
		return fmt.Errorf("%d settled while the sink has custody of none (P1)", s)
	}
	h.releaseAll()
	return n.settled(min(n.Window, 5))
}

func settlesPrefix(n *Near, h *hold) error {
	const all = 10
	if n.Window < all {
		return fmt.Errorf("a window of %d is too small for this check, want %d", n.Window, all)
	}
	for i := range all {
		n.Feed(i)
	}
	if err := h.handed(all); err != nil {
		return err
	}
	for i := all - 1; i > 0; i-- { // newest first, the oldest stays open
		h.finish(i, nil)
	}
	if s := n.Settled(); s != 0 {
		return fmt.Errorf("%d settled over an open first message (P4)", s)
	}
	h.finish(0, nil)
	return n.settled(all)
}

func keepsFailed(n *Near, h *hold) error {
	n.Feed(0)
	if err := h.handed(1); err != nil {
		return err
	}
	h.finish(0, errors.New("passing failure"))
	if !n.Retries {
		h.cancel()
		if err := until("Run to return", h.hasEnded); err != nil {
			return err
		}
	} else if err := h.handed(2); err != nil {
		return err
	}
	if s := n.Settled(); s != 0 {
		return fmt.Errorf("a message was settled though its sink never took custody (P1)")
	}
	return nil
}

func passesRefused(n *Near, h *hold) error {
	n.Feed(0)
	if err := h.handed(1); err != nil {
		return err
	}
	h.finish(0, linkspan.Permanent(errors.New("refused for good")))
	h.releaseAll()
	n.Feed(1)
	if err := h.handed(2); err != nil {
		return err
	}
	if got := h.payloads()[1]; got != Payload(1) {
		return fmt.Errorf("after a refusal came %s, want %s (P2)", got, Payload(1))
	}
	return nil
}

func drains(n *Near, h *hold) error {
	n.Feed(0)
	if err := h.handed(1); err != nil {
		return err
	}
	h.cancel()
	h.finish(0, nil)
	if err := until("Run to return", h.hasEnded); err != nil {
		return err
	}
	return n.settled(1) // P8
}

// firstInOrder checks that the first appearance of each payload is in order.
func firstInOrder(got []string, n int) error {
	next := 0
	for _, p := range got {
		if next < n && p == Payload(next) {
			next++
		}
	}
	if next != n {
		return fmt.Errorf("%s is missing or came out of order (P3)", Payload(next))
	}
	return nil
}
