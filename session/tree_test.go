package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
)

// matches is the specification's rule [MQTT-4.7.1], read level by level.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i == len(t) || level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// The examples of MQTT 5, section 4.7.
func TestTreeMatch(t *testing.T) {
	for _, c := range []struct {
		filter string
		yes    string
		no     string
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/score/wimbledon", "sport/tennis"},
		{"sport/#", "sport sport/", "sports /sport"},
		{"#", "a a/b / /finance", "$SYS $SYS/uptime"},
		{"sport/tennis/+", "sport/tennis/player1 sport/tennis/", "sport/tennis sport/tennis/player1/ranking"},
		{"sport/+", "sport/", "sport"},
		{"+", "finance", "/finance $SYS"},
		{"+/+", "/finance", "finance"},
		{"/+", "/finance", "finance"},
		{"+/tennis/#", "sport/tennis a/tennis/b", "sport $a/tennis"},
		{"$SYS/#", "$SYS $SYS/monitor/Clients", "SYS"},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", "$SYS/monitor"},
		{"a//b", "a//b", "a/b a/c/b"},
		{"a/+/b", "a//b a/c/b", "a/b"},
		{"/", "/", "a /a a/"},
		{"Räume/ä/+", "Räume/ä/温度", "Räume/a/x"},
		{"+/monitor/Clients", "a/monitor/Clients", "$SYS/monitor/Clients"}, // [MQTT-4.7.2-1]
		{"accounts", "accounts", "ACCOUNTS Accounts accounts/"},            // [MQTT-4.7.3-4]
	} {
		var tr tree
		s := new(Session)
		tr.add(s, c.filter)
		for i, topics := range []string{c.yes, c.no} {
			for _, topic := range strings.Fields(topics) {
				want := i == 0
				if got := len(tr.match(topic, nil)) == 1; got != want {
					t.Errorf("tree: %q matches %q: %v", c.filter, topic, got)
				}
				if got := matches(c.filter, topic); got != want {
					t.Errorf("rule: %q matches %q: %v", c.filter, topic, got)
				}
				if got, _, _ := leap(c.filter, topic, nil); got != want {
					t.Errorf("leap: %q matches %q: %v", c.filter, topic, got)
				}
			}
		}
	}
}

func TestValidFilter(t *testing.T) {
	for filter, want := range map[string]bool{
		"#": true, "+": true, "+/#": true, "a/+/b": true, "/": true, "a/#": true, "+/+/+": true, "$SYS/#": true,
		"": false, "a#": false, "a/b#": false, "#/a": false, "a/#/b": false, "a+": false, "+a/b": false, "a/+b": false,
		"a\x00b": false, strings.Repeat("a", 65535): true, strings.Repeat("a", 65536): false,
	} {
		if got := validFilter(filter); got != want {
			t.Errorf("%.20q: %v [MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-1, MQTT-4.7.3-2]", filter, got)
		}
	}
}

// randomName returns a filter or a topic of a small world, so that they often match.
func randomName(rnd *rand.Rand, words []string) string {
	levels := make([]string, 1+rnd.IntN(4))
	for i := range levels {
		levels[i] = words[rnd.IntN(len(words))]
	}
	return strings.Join(levels, "/")
}

var (
	topicWords  = []string{"a", "b", "", "ab", "$a", "ä", "a ", "0", "1", "2", "3", "4"}
	filterWords = append([]string{"+", "+", "#"}, topicWords...)
)

// The tree agrees with the rule through any order of additions and removals, and nothing is left when all are gone.
func TestTreeModel(t *testing.T) {
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var tr tree
		type key struct {
			s      *Session
			filter string
		}
		model := make(map[key]*subscription)
		sessions := make([]*Session, 4)
		for i := range sessions {
			sessions[i] = new(Session)
		}
		for range 400 {
			k := key{sessions[rnd.IntN(len(sessions))], randomName(rnd, filterWords)}
			if !validFilter(k.filter) {
				continue
			}
			if have := tr.lookup(k.s, k.filter); have != model[k] {
				t.Fatalf("seed %d: lookup of %q: %v", seed, k.filter, have)
			}
			if rnd.IntN(3) > 0 {
				sub, fresh := tr.add(k.s, k.filter)
				if fresh != (model[k] == nil) || !fresh && sub != model[k] {
					t.Fatalf("seed %d: add of %q: fresh %v", seed, k.filter, fresh)
				}
				model[k] = sub
			} else if sub := model[k]; sub != nil {
				tr.remove(sub)
				delete(model, k)
			}
			topic := randomName(rnd, topicWords)
			want := make(map[*subscription]bool)
			for k, sub := range model {
				if matches(k.filter, topic) {
					want[sub] = true
				}
			}
			for _, n := range tr.match(topic, nil) {
				for sub := n.subs; sub != nil; sub = sub.next {
					if !want[sub] {
						t.Fatalf("seed %d: %q matches a filter that it should not, or twice", seed, topic)
					}
					delete(want, sub)
				}
			}
			if len(want) > 0 {
				t.Fatalf("seed %d: %q: %d filters missing", seed, topic, len(want))
			}
		}
		for _, sub := range model {
			tr.remove(sub)
		}
		if r := &tr.root; r.kids != nil || r.index != nil || r.plus != nil || r.hash != nil || r.subs != nil {
			t.Fatalf("seed %d: the empty tree has nodes: %+v", seed, r)
		}
		for _, s := range sessions {
			if s.subs != nil {
				t.Fatalf("seed %d: an empty session has %d subscriptions", seed, len(s.subs))
			}
		}
	}
}

func FuzzTree(f *testing.F) {
	f.Add("a/+/c", "a/b/c")
	f.Add("#", "$SYS")
	f.Add("a/#", "a")
	f.Add("//+", "//")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if topic == "" || strings.ContainsAny(topic, "+#\x00") || !validFilter(filter) {
			return
		}
		var tr tree
		sub, _ := tr.add(new(Session), filter)
		want := matches(filter, topic)
		if got := len(tr.match(topic, nil)) == 1; got != want {
			t.Errorf("tree: %v, rule: %v", got, want)
		}
		got, _, hop := leap(filter, topic, nil)
		if got != want {
			t.Errorf("leap: %v, rule: %v", got, want)
		}
		if len(hop) > 0 && compareLevels(topic, hop) >= 0 {
			t.Errorf("leap from %q goes back to %q", topic, hop)
		}
		tr.remove(sub)
		if tr.root.kids != nil || tr.root.plus != nil || tr.root.hash != nil {
			t.Error("nodes left")
		}
	})
}

// million returns a tree with a million filters of a million sessions, and what a filter with its session costs.
func million(b *testing.B) (*tree, []*Session, float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tr, sessions := new(tree), make([]*Session, 1_000_000)
	for i := range sessions {
		sessions[i] = &Session{client: fmt.Sprint("device-", i)}
		tr.add(sessions[i], fmt.Sprintf("plant/%d/device-%d/cmd", i%1000, i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for i := range 1000 { // the 1000 filters of a wide match
		tr.add(sessions[i], "plant/+/alarm")
	}
	return tr, sessions, float64(after.HeapAlloc-before.HeapAlloc) / 1e6
}

func BenchmarkTree(b *testing.B) {
	tr, sessions, cost := million(b)
	for name, topic := range map[string]string{
		"narrow": "plant/7/device-500007/cmd",
		"wide":   "plant/7/alarm",
		"none":   "plant/7/device-500008/cmd",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			m := &linkspan.Message{Topic: topic, QoS: 1}
			var x match
			for round := uint64(1); b.Loop(); round++ {
				tr.mu.RLock()
				x.all(tr, m, round)
				tr.mu.RUnlock()
				x.reset()
			}
			b.ReportMetric(cost, "B/session")
		})
	}
	b.Run("subscribe", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tr.mu.Lock()
			sub, _ := tr.add(sessions[1], "plant/7/device-x/cmd")
			tr.remove(sub)
			tr.mu.Unlock()
		}
	})
}
