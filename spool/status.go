package spool

import (
	"sync/atomic"
	"time"
)

// Status is what an operator is told.
type Status struct {
	Verdict Verdict
	Reason  string // in words, "" when all is well
	Disk    Disk
	Lanes   []LaneStatus // those of the configuration in its order, then those that only the disk knows
}

// Verdict is the state of the whole spool.
type Verdict uint8

// The verdicts.
const (
	// OK: nothing waits for longer than it should.
	OK Verdict = iota
	// Degraded: messages wait in the spool; everything is still taken and nothing is lost.
	Degraded
	// NotReady: something is held back, refused or dropped.
	NotReady
)

func (v Verdict) String() string { return [...]string{"ok", "degraded", "not ready"}[v] }

func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Way is where the messages of a lane go.
type Way uint8

// The ways.
const (
	// Direct: to Kafka, not through the disk.
	Direct Way = iota
	// Spooling: to the disk, while Kafka takes nothing of the lane.
	Spooling
	// Draining: to the disk, and from there to Kafka.
	Draining
	// Holding: nowhere; they stay with their senders.
	Holding
	// Dropping: some are refused or dropped, as the lane's Full says.
	Dropping
)

func (w Way) String() string {
	return [...]string{"direct", "spooling", "draining", "holding", "dropping"}[w]
}

func (w Way) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// Disk is the state of the journal.
type Disk struct {
	Full     string    // the limit that is reached: max_bytes or min_free; "" for none
	Failing  error     // what the operating system said last; nil while it works
	Since    time.Time // of Failing
	Bytes    int64     // of all files
	MaxBytes int64
	Segments int
	Pending  int64 // bytes that wait in memory to be synced
}

// LaneStatus is the state of one lane.
type LaneStatus struct {
	Name string
	Ack  Ack
	Full Full
	Gone bool // no route has the name any more; what is left is drained all the same
	Way  Way

	Messages, Bytes int64         // in the spool, and not settled
	InFlight        int           // of these, handed to Kafka; and on the direct way
	Oldest          time.Duration // age of the oldest in the spool, 0 when there is none
	In, Out         float64       // messages a second into the spool and out of it, over the last seconds
	ETA             time.Duration // until the spool is empty, if it goes on like this; 0: not to be seen

	Counters LaneCounters
}

// LaneCounters is what happened in one lane since the start, in messages.
type LaneCounters struct {
	Spooled   uint64 // written to the spool, TakenOver among them
	TakenOver uint64 // that Kafka left unacknowledged
	Drained   uint64 // delivered to Kafka out of the spool
	Buried    uint64 // refused by Kafka for good, and put into the dead letter topic
	Refused   uint64 // refused to their sender: the spool was full
	Oldest    uint64 // dropped: the oldest, the spool being full
	Newest    uint64 // dropped: the newest, the spool being full
	TooOld    uint64 // dropped: older than MaxAge
	Lost      uint64 // acknowledged from memory, and not delivered
}

// Stats counts what the spool did since it was opened.
type Stats struct {
	// Takeovers counts how often a lane went to the spool, Returns how often one came back to the direct way, Rewinds
	// how often a lane was drained once more from its first message that Kafka gave back.
	Takeovers, Returns, Rewinds atomic.Uint64
	// LeftBehind counts how often a lane did not get on, and others went past it.
	LeftBehind atomic.Uint64
}
