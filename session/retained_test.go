package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

func levelOrder(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

func retain(r *retained, topic, payload string, round uint64, expires, now time.Time) bool {
	return r.set(&shared{Message: &linkspan.Message{Topic: topic, Payload: []byte(payload), Retain: true, Expires: expires}}, round, now)
}

// walkAll returns the topics that a walk finds.
func walkAll(r *retained, filter string, round uint64) (topics []string) {
	for _, m := range walkFor(r, "", filter, round) {
		topics = append(topics, m.Topic)
	}
	return topics
}

func walkFor(r *retained, endpoint, filter string, round uint64) (found []*linkspan.Message) {
	w := walk{filter: filter, endpoint: endpoint, round: round}
	for {
		steps := walkSteps
		m, topic, more := r.next(&w, &steps)
		if !more {
			return found
		}
		if m != nil {
			found = append(found, m)
		}
		w.after = topic
	}
}

// The store agrees with a map and the rule of matching, whatever is set, replaced, deleted and expires.
func TestRetainedModel(t *testing.T) {
	for seed := range uint64(5) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var stats Stats
		r := retained{maxCount: 1 << 20, maxBytes: 1 << 30, stats: &stats}
		type value struct {
			round   uint64
			expires time.Time
		}
		model := make(map[string]value)
		now := time.Unix(1_000_000, 0)
		const rounds = 3000
		for round := uint64(1); round <= rounds; round++ {
			now = now.Add(time.Second)
			topic := randomName(rnd, topicWords)
			if topic == "" || rnd.IntN(2) == 0 {
				topic += fmt.Sprint("/", rnd.IntN(2000)) // so that there are several chunks
			}
			var expires time.Time
			if rnd.IntN(3) == 0 {
				expires = now.Add(time.Duration(rnd.IntN(2000)) * time.Second)
			}
			payload := "x"
			if rnd.IntN(5) == 0 {
				payload = "" // [MQTT-3.3.1-6]
			}
			if retain(&r, topic, payload, round, expires, now) {
				t.Fatalf("seed %d: %q refused", seed, topic)
			}
			delete(model, topic)
			if payload != "" {
				model[topic] = value{round, expires}
			}
			if round%100 != 0 && round != rounds {
				continue
			}
			for topic, v := range model {
				if !v.expires.IsZero() && !now.Before(v.expires) {
					delete(model, topic)
				}
			}
			for range 20 {
				filter := randomName(rnd, filterWords)
				if rnd.IntN(2) == 0 {
					filter += fmt.Sprint("/", rnd.IntN(2000))
				}
				if !validFilter(filter) {
					continue
				}
				until := round - uint64(rnd.IntN(50))
				var want []string
				for topic, v := range model {
					if v.round <= until && matches(filter, topic) {
						want = append(want, topic)
					}
				}
				slices.SortFunc(want, levelOrder)
				if got := walkAll(&r, filter, until); !slices.Equal(got, want) {
					t.Fatalf("seed %d: %q: got %q, want %q", seed, filter, got, want)
				}
			}
			if n := int64(len(model)); stats.Retained.Load() != n || int64(r.count) != n {
				t.Fatalf("seed %d: %d retained, want %d", seed, r.count, n)
			}
		}
		for topic := range model {
			retain(&r, topic, "", rounds+1, time.Time{}, now)
		}
		if r.chunks != nil || r.count != 0 || r.bytes != 0 || len(r.expiring) != 0 || stats.RetainedBytes.Load() != 0 {
			t.Fatalf("seed %d: the empty store holds %d chunks, %d messages, %d bytes, %d expiring", seed, len(r.chunks), r.count, r.bytes, len(r.expiring))
		}
	}
}

// A device gets the newest of what was retained for its endpoint and for all, as if it had been there, also if that
// was deleted, has expired, or was refused.
func TestRetainedTargets(t *testing.T) {
	type value struct {
		payload string // "": none
		forAll  bool
		expires time.Time
	}
	refusals, hidden := 0, 0
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		var stats Stats
		r := retained{maxCount: 6, maxBytes: 1 << 20, stats: &stats}
		endpoints := []string{"e", "f", "g"}
		model := make(map[[2]string]value)
		now := time.Unix(1_000_000, 0)
		for round := uint64(1); round <= 300; round++ {
			now = now.Add(time.Second)
			m := &linkspan.Message{Topic: fmt.Sprint("t/", rnd.IntN(3)), Payload: fmt.Append(nil, round), Target: []string{"", "e", "f"}[rnd.IntN(3)]}
			if rnd.IntN(3) == 0 {
				m.Payload = nil
			}
			if rnd.IntN(2) == 0 {
				m.Expires = now.Add(time.Duration(rnd.IntN(10)) * time.Second)
			}
			refused := r.set(&shared{Message: m}, round, now)
			if refused {
				refusals++
			}
			var want, got [3][]string
			for i, e := range endpoints {
				for n := range 3 {
					key := [2]string{e, fmt.Sprint("t/", n)}
					v := model[key]
					if key[1] == m.Topic {
						if m.Target == "" || m.Target == e {
							v = value{string(m.Payload), m.Target == "", m.Expires}
						}
						if refused && (v.forAll || m.Target == e) {
							v = value{}
						}
					}
					if !v.expires.IsZero() && !now.Before(v.expires) {
						v = value{}
					}
					if model[key] = v; v.payload != "" {
						want[i] = append(want[i], v.payload)
					}
				}
				for _, m := range walkFor(&r, e, "t/+", round) {
					got[i] = append(got[i], string(m.Payload))
				}
				if !slices.Equal(got[i], want[i]) {
					t.Fatalf("seed %d, round %d, endpoint %s: got %q, want %q", seed, round, e, got[i], want[i])
				}
			}
			if len(want[0]) < len(want[2]) {
				hidden++
			}
			if r.count > r.maxCount {
				t.Fatalf("%d kept", r.count)
			}
		}
		for n := range 3 {
			retain(&r, fmt.Sprint("t/", n), "", 301, time.Time{}, now)
		}
		if r.chunks != nil || r.count != 0 || r.bytes != 0 || len(r.expiring) != 0 {
			t.Fatalf("seed %d: the empty store holds %d chunks, %d messages, %d bytes, %d expiring", seed, len(r.chunks), r.count, r.bytes, len(r.expiring))
		}
	}
	if refusals == 0 || hidden == 0 {
		t.Errorf("the test proves little: %d refusals, %d times that an endpoint has less", refusals, hidden)
	}
}

// A full store refuses what is new, and does not keep an old value in the place of a new one (P6).
func TestRetainedBounds(t *testing.T) {
	var stats Stats
	var never time.Time
	now := time.Unix(1000, 0)
	r := retained{maxCount: 2, maxBytes: 2*overhead + 100, stats: &stats}
	if retain(&r, "a", "1", 1, never, now) || retain(&r, "b", "1", 2, now.Add(time.Second), now) {
		t.Fatal("refused with room")
	}
	if !retain(&r, "c", "1", 3, never, now) {
		t.Fatal("a third taken")
	}
	if retain(&r, "a", "2", 4, never, now) {
		t.Fatal("a replacement refused")
	}
	if !retain(&r, "a", strings.Repeat("x", 101), 5, never, now) {
		t.Fatal("more bytes taken than allowed")
	}
	if got := walkAll(&r, "#", 9); !slices.Equal(got, []string{"b"}) {
		t.Fatalf("got %q, want only b: the old value of a is no longer true", got)
	}
	now = now.Add(time.Second) // b expires, which makes room
	if retain(&r, "c", "1", 6, never, now) || retain(&r, "d", "1", 7, never, now) {
		t.Fatal("refused with room")
	}
}

// A walk for a filter that matches nothing does not hold the store for long at a time, and ends.
func TestRetainedLongSearch(t *testing.T) {
	var stats Stats
	r := retained{maxCount: 1 << 20, maxBytes: 1 << 30, stats: &stats}
	for i := range 3 * walkSteps {
		retain(&r, fmt.Sprintf("%06d/a", i), "x", 1, time.Time{}, time.Time{})
	}
	rests, w := 0, walk{filter: "+/b", round: 1}
	for {
		steps := walkSteps
		m, topic, more := r.next(&w, &steps)
		if m != nil {
			t.Fatalf("%q matches +/b", m.Topic)
		}
		if !more {
			break
		}
		if steps != 0 {
			t.Fatalf("%d of %d steps left", steps, walkSteps)
		}
		w.after = topic
		rests++
	}
	if rests < 2 {
		t.Fatalf("%d rests", rests)
	}
}

func BenchmarkRetained(b *testing.B) {
	var stats Stats
	r := retained{maxCount: 1 << 21, maxBytes: 1 << 31, stats: &stats}
	m := &linkspan.Message{Payload: []byte("21.5")}
	for i := range 1_000_000 {
		m.Topic = fmt.Sprintf("plant/%d/device-%d/state", i%1000, i)
		r.set(&shared{Message: m}, 1, time.Time{})
	}
	for _, filter := range []string{"plant/7/device-500007/state", "plant/7/+/state", "#", "plant/+/device-500007/state"} {
		b.Run(strings.ReplaceAll(filter, "/", "."), func(b *testing.B) {
			b.ReportAllocs()
			w := walk{filter: filter, round: 1}
			for b.Loop() {
				steps := walkSteps
				_, topic, more := r.next(&w, &steps)
				if w.after = topic; !more {
					w.after = ""
				}
			}
		})
	}
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			m.Topic = "plant/7/device-500007/state"
			r.set(&shared{Message: m}, 1, time.Time{})
		}
	})
}
