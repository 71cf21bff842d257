package journal

// What tests do step by step that Run does by itself.

func (j *Journal) Commit() error               { return j.commit() }
func (j *Journal) StorePositions(b bool) error { return j.keep.store(j, b) }

func (j *Journal) Chores() error {
	j.doChores()
	if f := j.chore.Load(); f != nil {
		return f
	}
	return nil
}

// Die gives the lock back and leaves everything else as it is: what the death of the process does.
func (j *Journal) Die() { _ = j.lock.Close() }

// Names of files and sizes on the disk.
const (
	HeaderBytes   = headerBytes
	SegmentHeader = segmentHeader
	SlotBytes     = slotBytes
	MinSegment    = minSegment
	MaxPending    = maxPending
	RewriteAfter  = rewriteAfter
)

func SegmentName(first uint64) string { return segmentName(first) }

// InspectOn and RequestOn are Inspect and Request on another OS.
var (
	InspectOn = inspect
	RequestOn = request
)
