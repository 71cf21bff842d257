package journal

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// A View is what was in a journal's directory when Inspect read it.
type View struct {
	Lanes    []LaneView // by number
	Segments int
	Bytes    int64 // of all segments, what is allocated ahead left out
	// Cuts is what is damaged, and at the end of the segment that is written what may just be on its way.
	Cuts []Cut

	j *Journal
}

// LaneView is a lane of a View.
type LaneView struct {
	Lane    Lane
	Name    string
	Settled uint64
	Backlog Backlog
}

// Inspect reads the journal in dir without changing anything and without holding it, also beside the process that has it
// open. What that process appends, settles or deletes meanwhile may be in the view or not.
func Inspect(dir string) (*View, error) { return inspect(System(), dir) }

func inspect(o OS, dir string) (*View, error) {
	names, err := o.List("inspect.list", dir)
	if err != nil {
		return nil, fmt.Errorf("read the spool in %s: %w", dir, err)
	}
	if !slices.Contains(names, "lock") {
		return nil, fmt.Errorf("there is no spool in %s", dir)
	}
	j := &Journal{o: Options{Dir: dir, OS: o}.withDefaults(), os: o, log: slog.New(slog.DiscardHandler), viewing: true}
	r, err := j.recover()
	if err != nil {
		return nil, fmt.Errorf("read the spool in %s: %w", dir, err)
	}
	v := &View{j: j, Segments: r.Segments, Bytes: r.Bytes, Cuts: r.Cuts}
	for _, l := range j.Lanes() {
		v.Lanes = append(v.Lanes, LaneView{Lane: l.Lane, Name: l.Name, Settled: j.Settled(l.Lane), Backlog: j.Backlog(l.Lane)})
	}
	return v, nil
}

// Each calls f for the entries that are not settled of the lanes that want wants, in order, until f returns false. Entries
// are borrowed. Those that the running process has deleted since Inspect are left out.
func (v *View) Each(want func(Lane) bool, f func(Entry) bool) error { return v.EachAfter(0, want, f) }

// EachAfter is Each for the entries behind after, and does not read those before.
func (v *View) EachAfter(after uint64, want func(Lane) bool, f func(Entry) bool) error {
	r := v.j.NewReader(after)
	defer r.Close()
	for {
		e, ok := r.Next(want)
		if !ok {
			return r.Err()
		}
		if !f(e) {
			return nil
		}
	}
}

// Before returns the number of the last entry of l that is not settled and was appended before t, 0 if there is none.
func (v *View) Before(l Lane, t time.Time) uint64 { return v.j.Before(l, t) }

// Preview returns what [Request] would drop.
func (v *View) Preview(d Drop) (Dropped, error) {
	_, _, out, err := v.j.weigh(d)
	return out, err
}
