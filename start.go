package linkspan

import "time"

// Start is where reading the partitions of a Kafka topic begins. The zero value is [Committed].
type Start struct {
	At     StartAt
	Offset int64     // of AtOffset and AfterOffset
	Time   time.Time // of AtTime
}

// StartAt is a kind of [Start].
type StartAt int

// The kinds of Start.
const (
	// Committed: where the group is; where it has no position, with the first record that is there.
	Committed StartAt = iota
	// Earliest: with the first record that is there.
	Earliest
	// Latest: behind the last one that is there when reading begins.
	Latest
	// AtOffset: with the record of that offset, AfterOffset with the one behind it; with the first that is there where retention has
	// removed that.
	AtOffset
	AfterOffset
	// AtTime: with the first record that is not older; where all are older, behind the last one.
	AtTime
)
