package fleet

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"pgregory.net/rapid"
)

// A deviceLog is the log of locations, and processes that read it at their own pace.
type deviceLog struct {
	cfg   Config
	now   time.Time
	log   []*linkspan.Message
	views []*view
}

type view struct {
	*Locations
	shelf
	read int
}

func newDeviceLog(processes int) *deviceLog {
	l := &deviceLog{cfg: DefaultConfig(), now: time.UnixMilli(1700000000000)}
	l.cfg.Lanes = 1
	for range processes {
		l.views = append(l.views, l.view())
	}
	return l
}

func (l *deviceLog) view() *view {
	v := new(view)
	v.Locations = NewLocations(l.cfg, &v.shelf, nil)
	v.clock = func() time.Time { return l.now }
	return v
}

// land has all that a view has written land in the log.
func (l *deviceLog) land(v *view) {
	for _, s := range v.take() {
		s.m.Record.Offset = int64(len(l.log))
		l.log = append(l.log, s.m)
		s.done(nil)
	}
}

// read has a view read on.
func (l *deviceLog) read(v *view) {
	for ; v.read < len(l.log); v.read++ {
		m := l.log[v.read].Clone()
		v.Apply(m)
		scribble(m)
	}
}

// settle has everything land and be read.
func (l *deviceLog) settle() {
	for _, v := range l.views {
		l.land(v)
	}
	for _, v := range l.views {
		l.read(v)
	}
}

func (l *deviceLog) learn(v *view, device, endpoint string) {
	v.Learn(context.Background(), device, endpoint, l.now)
}

func (l *deviceLog) leave(v *view, device, endpoint string) {
	v.Leave(context.Background(), device, endpoint, l.now)
}

// want checks where a view sees a device, "" for nowhere.
func want(t interface{ Fatalf(string, ...any) }, v *view, device, endpoint string) {
	if got, ok := v.Find(device); got != endpoint || ok != (endpoint != "") {
		t.Fatalf("%s is at %q (%v), want %q", device, got, ok, endpoint)
	}
}

func TestLearnAndLeave(t *testing.T) {
	l := newDeviceLog(2)
	a, b := l.views[0], l.views[1]
	want(t, a, "pump", "")
	l.learn(a, "pump", "plant-a")
	want(t, a, "pump", "") // what was not read back is not believed
	l.settle()
	want(t, a, "pump", "plant-a")
	want(t, b, "pump", "plant-a")
	if m := l.log[0]; string(m.Payload) != `{"seen":1700000000000}` || string(m.Record.Key) != "pump\x1fplant-a" || m.Record.Partition != 0 {
		t.Errorf("wrote %s %q", m.Payload, m.Record.Key)
	}
	l.leave(b, "pump", "plant-a")
	l.settle()
	want(t, a, "pump", "")
	if string(l.log[1].Payload) != `{"seen":1700000000000,"left":true,"of":0}` {
		t.Errorf("wrote %s", l.log[1].Payload)
	}
	if n := a.stats.Devices.Load(); n != 0 {
		t.Errorf("%d devices", n)
	}
	l.leave(b, "pump", "plant-a") // known by nobody
	if len(b.take()) != 0 {
		t.Error("wrote that a device left that nobody knows")
	}
}

// Writes are made on change, and after a quarter of the time that an entry is good for.
func TestLearnWritesOnlyNews(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	l.learn(v, "pump", "plant-a")
	l.learn(v, "pump", "plant-a") // on its way
	l.settle()
	l.now = l.now.Add(l.cfg.Devices.MaxAge/4 - time.Millisecond)
	l.learn(v, "pump", "plant-a")
	l.settle()
	if len(l.log) != 1 {
		t.Fatalf("%d entries", len(l.log))
	}
	l.now = l.now.Add(time.Millisecond)
	l.learn(v, "pump", "plant-a")
	l.settle()
	if len(l.log) != 2 || v.stats.Refreshed.Load() != 1 || v.stats.Learned.Load() != 1 {
		t.Fatalf("%d entries, %d refreshed", len(l.log), v.stats.Refreshed.Load())
	}
}

// What could not be written, or was not read back, is written with the next message.
func TestLearnTriesAgain(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	l.learn(v, "pump", "plant-a")
	v.take()[0].done(errAway)
	l.learn(v, "pump", "plant-a")
	if n := len(v.take()); n != 1 || v.stats.WriteErrors.Load() != 1 {
		t.Fatalf("%d writes after a failed one", n)
	}
	l.now = l.now.Add(rereading * time.Millisecond)
	l.learn(v, "pump", "plant-a")
	if len(v.take()) != 1 {
		t.Error("no write after one that was not read back")
	}
	v.shutter(true)
	l.learn(v, "valve", "plant-a")
	if len(v.take()) != 0 || v.stats.Devices.Load() != 1 {
		t.Error("wrote without room") // P6
	}
}

// KAL-A8: a device moves from a to b, and a hears of it late; KAL-W4.
func TestLateDisconnectRemovesNothing(t *testing.T) {
	for _, lags := range []bool{false, true} {
		l := newDeviceLog(2)
		a, b := l.views[0], l.views[1]
		l.learn(a, "pump", "plant-a")
		l.settle()
		l.learn(b, "pump", "plant-b")
		l.land(b)
		if !lags {
			l.settle()
		}
		l.leave(a, "pump", "plant-a")
		l.settle()
		want(t, a, "pump", "plant-b")
		want(t, b, "pump", "plant-b")
		l.leave(b, "pump", "plant-b")
		l.settle()
		want(t, a, "pump", "")
	}
}

// KAL-A8, whatever the order in which processes hear of things and read of them: once a device was heard at an endpoint, and
// that has landed, nothing that others have to say of other endpoints' ends removes it.
func TestOnlyItsOwnEndpointRemovesADevice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newDeviceLog(3)
		endpoints := []string{"plant-a", "plant-b", "plant-c"} // each is run by one process
		act := func(home int) {
			i := rapid.IntRange(0, 2).Draw(t, "process")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				l.land(l.views[i])
			case 1:
				l.read(l.views[i])
			case 2:
				if i != home {
					l.leave(l.views[i], "pump", endpoints[i])
				}
			case 3:
				if home < 0 {
					l.learn(l.views[i], "pump", endpoints[i])
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			act(-1)
		}
		l.settle()
		l.now = l.now.Add(flapTime * time.Millisecond)
		home := rapid.IntRange(0, 2).Draw(t, "home")
		l.learn(l.views[home], "pump", endpoints[home])
		l.land(l.views[home])
		for range rapid.IntRange(0, 20).Draw(t, "after") {
			act(home)
		}
		l.settle()
		for _, v := range l.views {
			want(t, v, "pump", endpoints[home])
		}
	})
}

// Who reads the log after compaction knows what a reader of everything knows.
func TestCompactionForgetsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newDeviceLog(2)
		devices, endpoints := []string{"pump", "valve"}, []string{"plant-a", "plant-b", "plant-c"}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			v := rapid.SampledFrom(l.views).Draw(t, "process")
			d, e := rapid.SampledFrom(devices).Draw(t, "device"), rapid.SampledFrom(endpoints).Draw(t, "endpoint")
			if rapid.Bool().Draw(t, "leaves") {
				l.leave(v, d, e)
			} else {
				l.learn(v, d, e)
			}
			l.settle()
			l.now = l.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
		}
		upTo := rapid.IntRange(0, len(l.log)).Draw(t, "compacted")
		newest := map[string]int{}
		for i, m := range l.log {
			newest[string(m.Record.Key)] = i
		}
		late := l.view()
		for i, m := range l.log {
			if i >= upTo || newest[string(m.Record.Key)] == i {
				late.Apply(m)
			}
		}
		for _, d := range devices {
			endpoint, _ := l.views[0].Find(d)
			want(t, late, d, endpoint)
		}
	})
}

// KAL-A9: what nobody renews ages out, and takes no memory (KAL-W9).
func TestLocationsAge(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	for i := range 2000 {
		l.learn(v, fmt.Sprint("device ", i), "plant-a")
	}
	l.settle()
	l.now = l.now.Add(l.cfg.Devices.MaxAge)
	want(t, v, "device 1", "")
	late := l.view()
	l.read(late)
	if n := late.stats.Devices.Load(); n != 0 {
		t.Errorf("%d old devices after a start", n)
	}
	for i := range 20000 {
		l.learn(v, fmt.Sprint("new device ", i), "plant-a")
	}
	l.settle()
	if n := v.stats.Devices.Load(); n > 21000 {
		t.Errorf("%d devices, want about 20000", n)
	}
}

// P6: the table is bounded, and those who were heard last stay.
func TestLocationsAreBounded(t *testing.T) {
	l := newDeviceLog(0)
	l.cfg.Devices.Max = 1000
	v := l.view()
	l.views = append(l.views, v)
	for i := range 5000 {
		l.now = l.now.Add(time.Millisecond)
		l.learn(v, fmt.Sprint("device ", i), "plant-a")
		l.settle()
	}
	if n := v.stats.Devices.Load(); n > 1000+int64(len(v.devices)) || v.stats.Evicted.Load() < 3700 {
		t.Errorf("%d devices, %d evicted", n, v.stats.Evicted.Load())
	}
	recent := 0
	for i := 4900; i < 5000; i++ {
		if _, ok := v.Find(fmt.Sprint("device ", i)); ok {
			recent++
		}
	}
	if recent < 60 {
		t.Errorf("of the last 100 devices, %d are known", recent)
	}
}

// Two brokers that are joined behind our back show us each message twice.
func TestFlappingDeviceIsHeld(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	for range 1000 {
		l.learn(v, "pump", "plant-a")
		l.settle()
		l.learn(v, "pump", "plant-b")
		l.settle()
	}
	if len(l.log) != 1+maxMoves || v.stats.Flapping.Load() == 0 {
		t.Errorf("%d entries", len(l.log))
	}
	at, _ := v.Find("pump")
	l.now = l.now.Add(flapTime * time.Millisecond)
	for _, e := range []string{"plant-a", "plant-b"} {
		if e != at {
			l.learn(v, "pump", e)
			l.settle()
			want(t, v, "pump", e)
		}
	}
}

func TestUplinkLearns(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	var next shelf
	up := v.Uplink(&next)
	pass := func(m linkspan.Message) (wrote int) {
		m.Received = l.now
		var o outcome
		up.Send(t.Context(), &m, o.done)
		if len(next.take()) != 1 || o.calls != 0 {
			t.Fatal("the message was not handed on, and only that")
		}
		wrote = len(v.shelf.peek())
		l.settle()
		return wrote
	}
	for _, c := range []struct {
		name  string
		m     linkspan.Message
		wrote int
		at    string
	}{
		{"no device", linkspan.Message{Endpoint: "plant-a"}, 0, ""},
		{"out of the broker's store", linkspan.Message{Endpoint: "plant-a", Device: "pump", Retain: true}, 0, ""},
		{"heard", linkspan.Message{Endpoint: "plant-a", Device: "pump"}, 1, "plant-a"},
		{"left, out of the store", linkspan.Message{Endpoint: "plant-a", Device: "pump", Left: true, Retain: true}, 0, "plant-a"},
		{"to be retained, from a device of ours", linkspan.Message{Endpoint: "local", Client: "c", Device: "pump", Retain: true}, 1, "local"},
		{"left the old broker", linkspan.Message{Endpoint: "plant-a", Device: "pump", Left: true}, 1, "local"},
		{"left", linkspan.Message{Endpoint: "local", Client: "c", Device: "pump", Left: true}, 1, ""},
	} {
		if n := pass(c.m); n != c.wrote {
			t.Errorf("%s: %d entries, want %d", c.name, n, c.wrote)
		}
		want(t, v, "pump", c.at)
	}
	next.shutter(true)
	if up.Room(nil) {
		t.Error("room before a full sink")
	}
}

// A device comes back before its leaving has been read.
func TestLeaveAndLearnAtOnce(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	l.learn(v, "pump", "plant-a")
	l.leave(v, "pump", "plant-a")
	l.leave(v, "pump", "plant-a")
	l.learn(v, "pump", "plant-a")
	if len(v.peek()) != 3 {
		t.Errorf("%d entries", len(v.peek()))
	}
	l.settle()
	want(t, v, "pump", "plant-a")
}

func TestOnChange(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	var seen []string
	for range 2 {
		v.OnChange(func(device, endpoint string) { seen = append(seen, device+" "+endpoint) })
	}
	for _, e := range []string{"plant-a", "plant-a", "plant-b"} {
		l.now = l.now.Add(l.cfg.Devices.MaxAge / 4)
		l.learn(v, "pump", e)
		l.settle()
	}
	if !slices.Equal(seen, []string{"pump plant-a", "pump plant-a", "pump plant-b", "pump plant-b"}) {
		t.Error(seen)
	}
}

func TestForeignEntriesAreCounted(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	l.learn(v, "pump", "plant-a")
	l.settle()
	for _, m := range []linkspan.Message{
		{Payload: []byte(`{"seen":1}`), Record: linkspan.Record{Key: []byte("no unit")}},
		{Payload: []byte(`{"seen":1}`), Record: linkspan.Record{Key: []byte("\x1fplant-a")}},
		{Payload: []byte(`{"seen":1}`), Record: linkspan.Record{Key: []byte("pump\x1f")}},
		{Payload: []byte(`{"seen"`), Record: linkspan.Record{Key: []byte("pump\x1fplant-a")}},
		{Payload: []byte(`[]`), Record: linkspan.Record{Key: []byte("pump\x1fplant-a")}},
	} {
		v.Apply(&m)
	}
	if n := v.stats.Malformed.Load(); n != 5 {
		t.Errorf("%d malformed", n)
	}
	want(t, v, "pump", "plant-a")
	v.Apply(&linkspan.Message{Record: linkspan.Record{Key: []byte("pump\x1fplant-b")}})
	want(t, v, "pump", "plant-a")
	v.Apply(&linkspan.Message{Record: linkspan.Record{Key: []byte("pump\x1fplant-a")}}) // deleted by hand
	want(t, v, "pump", "")
}

func TestLearnAllocatesNothing(t *testing.T) {
	l := newDeviceLog(1)
	v := l.views[0]
	l.learn(v, "pump", "plant-a")
	l.settle()
	up := v.Uplink(nowhere{})
	m := linkspan.Message{Device: "pump", Endpoint: "plant-a", Received: l.now}
	if n := testing.AllocsPerRun(100, func() {
		up.Send(context.Background(), &m, func(error) {})
		v.Find("pump")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLearnNothingNew(b *testing.B) {
	l := newDeviceLog(1)
	v := l.views[0]
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprint("device ", i)
		l.learn(v, names[i], "plant-a")
	}
	l.settle()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l.learn(v, names[i%len(names)], "plant-a")
		}
	})
}
