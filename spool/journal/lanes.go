package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const lanesFile = "lanes"

// lanes are the names of the lanes, and how far each is settled. Names are only ever added.
type lanes struct {
	mu  sync.Mutex                // held while one is added
	all atomic.Pointer[[]*laneOf] // by number, from 1 on
}

type laneOf struct {
	name    string
	settled atomic.Uint64
	dropped atomic.Uint64 // entries that Request has dropped

	mu      sync.Mutex
	partial partial // what Backlog counted last
}

func (ls *lanes) list() []*laneOf {
	if p := ls.all.Load(); p != nil {
		return *p
	}
	return nil
}

// get returns lane l, nil if there is none.
func (ls *lanes) get(l Lane) *laneOf {
	all := ls.list()
	if l == 0 || int(l) > len(all) {
		return nil
	}
	return all[l-1]
}

// settled returns up to where l is settled.
func (ls *lanes) settled(l Lane) uint64 {
	if x := ls.get(l); x != nil {
		return x.settled.Load()
	}
	return 0
}

func (ls *lanes) find(name string) Lane {
	for i, x := range ls.list() {
		if x.name == name {
			return Lane(i + 1)
		}
	}
	return 0
}

func (ls *lanes) add(name string) Lane {
	all := append(append([]*laneOf(nil), ls.list()...), &laneOf{name: name})
	ls.all.Store(&all)
	return Lane(len(all))
}

// upTo gives a name to every lane without one up to l: those of lanes whose name was lost.
func (ls *lanes) upTo(l Lane) {
	for n := len(ls.list()) + 1; n <= int(l); n++ {
		ls.add(fmt.Sprintf("lane-%d", n))
	}
}

// Lane returns the number of the lane called name. A new one is on the disk when Lane returns. The error is that of the
// disk, or says that there are MaxLanes already.
func (j *Journal) Lane(name string) (Lane, error) {
	j.lanes.mu.Lock()
	defer j.lanes.mu.Unlock()
	if l := j.lanes.find(name); l != 0 {
		return l, nil
	}
	all := j.lanes.list()
	if len(all) >= MaxLanes {
		return 0, fmt.Errorf("the spool in %s has had %d lanes, and takes no more: move it away when it is empty", j.o.Dir, MaxLanes)
	}
	names := make([]string, 0, len(all)+1)
	for _, x := range all {
		names = append(names, x.name)
	}
	if err := replaceFile(j.os, "lanes", filepath.Join(j.o.Dir, lanesFile), encodeLanes(append(names, name))); err != nil {
		return 0, fmt.Errorf("keep the name of lane %q: %w", name, err)
	}
	return j.lanes.add(name), nil
}

// LaneName is a lane with its name.
type LaneName struct {
	Lane Lane
	Name string
}

// Lanes returns all lanes that the journal has ever had.
func (j *Journal) Lanes() []LaneName {
	var out []LaneName
	for i, x := range j.lanes.list() {
		out = append(out, LaneName{Lane(i + 1), x.name})
	}
	return out
}

// The file of lanes is text: a sum of all that follows it, then a quoted name a line.
func encodeLanes(names []string) []byte {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(strconv.Quote(n))
		b.WriteByte('\n')
	}
	return fmt.Appendf(nil, "%08x\n%s", sum([]byte(b.String())), b.String())
}

var errLanes = errors.New("the names of the lanes are damaged")

func decodeLanes(p []byte) ([]string, error) {
	head, rest, ok := strings.Cut(string(p), "\n")
	if want, err := strconv.ParseUint(head, 16, 32); !ok || err != nil || uint32(want) != sum([]byte(rest)) {
		return nil, errLanes
	}
	var names []string
	for line := range strings.Lines(rest) {
		name, err := strconv.Unquote(strings.TrimSuffix(line, "\n"))
		if err != nil || len(names) >= MaxLanes {
			return nil, errLanes
		}
		names = append(names, name)
	}
	return names, nil
}
