package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// uplink is a sink that keeps what it took. answer says what becomes of the n-th Send, nil: all are taken.
type uplink struct {
	answer func(n int, m *linkspan.Message) error
	full   bool

	mu    sync.Mutex
	sends int
	took  []*linkspan.Message
}

func (u *uplink) Room(*linkspan.Message) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.full
}

func (u *uplink) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	u.mu.Lock()
	var err error
	if u.answer != nil {
		err = u.answer(u.sends, m)
	}
	u.sends++
	if err == nil {
		u.took = append(u.took, m.Clone())
	}
	u.mu.Unlock()
	done(err)
}

func (u *uplink) all() []*linkspan.Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.took)
}

func willOf(qos linkspan.QoS, retain bool) func(*ConnectRequest) {
	return func(c *ConnectRequest) {
		c.Will = message("wills/"+c.ClientID, "gone", qos)
		c.Will.Retain, c.Will.Client = retain, c.ClientID
	}
}

// A will is published as it was given when the connection is lost, and not after the device's own DISCONNECT
// (ENM-A2) [MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.1.2-14, MQTT-3.1.2-15].
func TestWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := new(uplink)
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		for qos := range linkspan.QoS(3) {
			connect(r, fmt.Sprint("lost-", qos), willOf(qos, qos == 1)).session.Close(true)
			connect(r, fmt.Sprint("left-", qos), willOf(qos, false)).session.Close(false)
		}
		connect(r, "none", nil).session.Close(true)
		goodbye := connect(r, "goodbye", willOf(1, false)).session
		goodbye.DropWill()
		goodbye.Close(true)
		synctest.Wait()
		got := up.all()
		if len(got) != 3 {
			t.Fatalf("%d wills, want 3", len(got))
		}
		for i, m := range got {
			if m.Topic != fmt.Sprint("wills/lost-", i) || int(m.QoS) != i || m.Retain != (i == 1) || string(m.Payload) != "gone" || !m.Expires.IsZero() {
				t.Errorf("will %d: %+v", i, m)
			}
		}
		if n := r.stats.WillsPublished.Load(); n != 3 {
			t.Errorf("%d counted", n)
		}
	})
}

// A will's expiry begins when it is published [MQTT-3.1.3.2.4].
func TestWillExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := new(uplink)
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		d := connect(r, "a", func(c *ConnectRequest) { willOf(1, false)(c); c.WillExpiry = time.Minute })
		sleep(t.Context(), time.Hour)
		d.session.Close(true)
		synctest.Wait()
		if m := up.all()[0]; !m.Received.Equal(time.Now()) || !m.Expires.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("received %v, expires %v, now %v", m.Received, m.Expires, time.Now())
		}
	})
}

// A will that the uplink does not take now is sent again until it does, and one that it refuses is counted (P2); the wills
// of one client stay in order (P3).
func TestWillRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &uplink{full: true}
		up.answer = func(n int, m *linkspan.Message) error {
			switch {
			case m.Topic == "wills/refused":
				return linkspan.ErrNotAuthorized
			case n < 7:
				return errors.New("not now")
			}
			return nil
		}
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		for _, client := range []string{"a", "refused", "b"} {
			connect(r, client, willOf(1, false)).session.Close(true)
		}
		sleep(t.Context(), time.Minute)
		up.mu.Lock()
		if up.sends > 0 {
			t.Error("sent without room")
		}
		up.full = false
		up.mu.Unlock()
		sleep(t.Context(), time.Minute)
		synctest.Wait()
		var topics []string
		for _, m := range up.all() {
			topics = append(topics, m.Topic)
		}
		if !slices.Equal(topics, []string{"wills/b", "wills/a"}) && !slices.Equal(topics, []string{"wills/a", "wills/b"}) {
			t.Errorf("got %q", topics)
		}
		r.wills.mu.Lock()
		defer r.wills.mu.Unlock()
		if p, x := r.stats.WillsPublished.Load(), r.stats.WillsRefused.Load(); p != 2 || x != 1 || r.wills.bytes != 0 {
			t.Errorf("%d published, %d refused, %d bytes waiting", p, x, r.wills.bytes)
		}
	})
}

// Wills that wait are bounded (P6), and those beyond are counted (P2).
func TestWillBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &uplink{full: true}
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		large := make([]byte, 1<<20)
		for i := range 100 {
			connect(r, fmt.Sprint(i), func(c *ConnectRequest) { willOf(0, false)(c); c.Will.Payload = large }).session.Close(true)
		}
		r.wills.mu.Lock()
		bytes, lost := r.wills.bytes, r.stats.WillsLost.Load()
		r.wills.mu.Unlock()
		if most := int64(maxWillBytes >> 20); bytes > maxWillBytes || lost < 100-most {
			t.Errorf("%d bytes wait, %d lost", bytes, lost)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); err == nil {
			t.Error("close: no error")
		}
		if n := r.stats.WillsLost.Load(); n != 100 {
			t.Errorf("%d lost, want all", n)
		}
	})
}

// Close publishes the wills of all sessions and waits for them, unless that is switched off (P8).
func TestWillsAtClose(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			up := &uplink{answer: func(n int, _ *linkspan.Message) error {
				if n < 1000 {
					return linkspan.ErrClosed
				}
				return nil
			}}
			r := newRegistry(t, func(c *Config) { c.Uplink, c.SilentShutdown = up, silent })
			if r.SilentShutdown() != silent {
				t.Errorf("silent shutdown: %v, want %v", !silent, silent)
			}
			const sessions = 600 // several batches
			for i := range sessions {
				d := connect(r, fmt.Sprint(i), willOf(1, false))
				d.ended = func() { d.session.Close(true) }
			}
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := sessions
			if silent {
				want = 0
			}
			if n := len(up.all()); n != want || r.stats.WillsPublished.Load() != int64(want) {
				t.Errorf("silent %v: %d wills, want %d", silent, n, want)
			}
		})
	}
}

// When the next session of a client begins, the uplink has the will of the one before, or the new one is told to wait
// with what it publishes: "offline" does not come after "online" (P3).
func TestWillBeforeNextSession(t *testing.T) {
	up := &uplink{}
	r := newRegistry(t, func(c *Config) { c.Uplink = up })
	old := connect(r, "a", willOf(1, true))
	for range 100 {
		d := connect(r, "a", willOf(1, true))
		if d.session.MayPublish() || len(up.all())%2 != 0 {
			t.Fatal("the connection before was not asked for its last word")
		}
		old.session.Close(true)
		if !d.session.MayPublish() {
			t.Fatal("held back with nothing to wait for")
		}
		old = d
		up.Send(t.Context(), message("wills/a", "online", 1), func(error) {})
	}
	old.session.Close(false)
	for i, m := range up.all() {
		if want := []string{"gone", "online"}[i%2]; string(m.Payload) != want {
			t.Fatalf("message %d is %q, want %q", i, m.Payload, want)
		}
	}
}

// After a takeover the connection has the last word on the will: a goodbye that it only finds then holds [MQTT-3.14.4-3]. The
// wills before and after it keep their order (P3), and nothing is left of it.
func TestWillAfterLastWord(t *testing.T) {
	for _, goodbye := range []func(*Session){(*Session).DropWill, func(s *Session) { s.Close(false) }} {
		up := &uplink{}
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		var sessions []*Session
		for i := range 4 {
			sessions = append(sessions, connect(r, "a", func(c *ConnectRequest) { willOf(1, true)(c); c.Will.Payload = fmt.Append(nil, i) }).session)
		}
		sessions[2].Close(true)
		goodbye(sessions[1])
		if got := up.all(); len(got) != 0 || sessions[3].MayPublish() {
			t.Errorf("%d wills before the first session's", len(got))
		}
		sessions[0].Close(true)
		sessions[1].Close(true) // its will is gone already
		if got := up.all(); len(got) != 2 || string(got[0].Payload) != "0" || string(got[1].Payload) != "2" || !sessions[3].MayPublish() {
			t.Errorf("%d wills, want those of sessions 0 and 2", len(got))
		}
		sessions[3].Close(false)
		if err := r.Close(t.Context()); err != nil || r.wills.bytes != 0 || r.stats.WillsLost.Load() != 0 {
			t.Errorf("close: %v; %d bytes of wills, %d lost", err, r.wills.bytes, r.stats.WillsLost.Load())
		}
	}
}

// A session waits for the wills of earlier sessions of its client that the uplink did not take, and for no others (P3).
func TestMayPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers []func(error)
		var took []string
		up := linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
			answers, took = append(answers, done), append(took, string(m.Payload))
		})
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		for i := range 3 {
			connect(r, "a", func(c *ConnectRequest) { willOf(1, true)(c); c.Will.Payload = fmt.Append(nil, i) }).session.Close(true)
		}
		a, b := connect(r, "a", nil).session, connect(r, "b", nil).session
		if !a.MayPublish() {
			t.Error("held back though the uplink has the wills")
		}
		answers[1](errors.New("not now"))
		answers[0](errors.New("not now"))
		answers[2](errors.New("not now"))
		if a.MayPublish() || !b.MayPublish() {
			t.Errorf("a may publish: %v, b: %v", a.MayPublish(), b.MayPublish())
		}
		sleep(t.Context(), time.Minute)
		synctest.Wait()
		if want := []string{"0", "1", "2", "0", "1", "2"}; !slices.Equal(took, want) || !a.MayPublish() {
			t.Errorf("took %q, want %q; may publish: %v", took, want, a.MayPublish())
		}
		for _, done := range answers[3:] {
			done(nil)
		}
		if n := r.stats.WillsPublished.Load(); n != 3 {
			t.Errorf("%d published", n)
		}
	})
}

// The same while the uplink has no room: wills wait, one client's in order, and another's do not wait for one that
// fails (P3, P6).
func TestMayPublishNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &uplink{full: true, answer: func(_ int, m *linkspan.Message) error {
			if m.Topic == "wills/stuck" {
				return errors.New("not now")
			}
			return nil
		}}
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		for _, client := range []string{"a", "stuck"} {
			connect(r, client, willOf(1, false)).session.Close(true)
		}
		a, stuck := connect(r, "a", nil).session, connect(r, "stuck", nil).session
		if a.MayPublish() || stuck.MayPublish() {
			t.Error("a session may publish before the will")
		}
		up.mu.Lock()
		up.full = false
		up.mu.Unlock()
		sleep(t.Context(), time.Minute)
		synctest.Wait()
		if !a.MayPublish() || stuck.MayPublish() {
			t.Errorf("a may publish: %v, stuck: %v", a.MayPublish(), stuck.MayPublish())
		}
		up.mu.Lock()
		up.answer = nil
		up.mu.Unlock()
		sleep(t.Context(), time.Minute)
		synctest.Wait()
		if !stuck.MayPublish() {
			t.Error("held back though the uplink has the will")
		}
	})
}

// A stop does not wait for an uplink that never answers longer than it may, and what it answers later changes nothing
// (P8).
func TestWillUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers []func(error)
		up := linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { answers = append(answers, done) })
		r := newRegistry(t, func(c *Config) { c.Uplink = up })
		for i := range 3 {
			connect(r, fmt.Sprint(i), willOf(1, false)).session.Close(true)
		}
		answers[0](nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); err == nil {
			t.Error("close: no error")
		}
		answers[1](nil)
		answers[2](errors.New("not now"))
		if p, l := r.stats.WillsPublished.Load(), r.stats.WillsLost.Load(); p != 1 || l != 2 {
			t.Errorf("%d published, %d lost", p, l)
		}
	})
}
