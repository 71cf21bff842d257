// Package fleet is what several processes with one configuration agree on through Kafka alone: which broker a device is on
// ([Locations]), how a record gets into the inbox of the one client endpoint that it is for ([Router], [Inbox]), where records
// wait for devices that nobody has seen ([Parking]), and what a broker's session knows of an endpoint ([Clients]).
//
// All of it is state that is folded from logs: each process follows the logs, writes to them, and believes only what it has
// read back. The views of two processes lag behind each other; what holds nevertheless is said at each type. Kafka itself is
// handed in: a sink to write with, Apply for what a follower reads, a [Reader] for what is read again.
package fleet

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/linkspan/linkspan"
)

// Why a record is in the dead letter topic. All are permanent.
var (
	// ErrUnknownDevice: nobody has seen the device, and the route parks nothing.
	ErrUnknownDevice = linkspan.Permanent(errors.New("nobody has seen the device that the record is for"))
	// ErrParkedTooLong: the device was not seen while the record was parked.
	ErrParkedTooLong = linkspan.Permanent(errors.New("the device that the record is for was not seen while it was parked"))
	// ErrParkedFull: as much is parked as fleet.max_parked allows.
	ErrParkedFull = linkspan.Permanent(errors.New("nobody has seen the device that the record is for, and max_parked records are parked already"))
	// ErrOnListener: the device came to a listener while the record was parked; what listeners deliver is live only.
	ErrOnListener = linkspan.Permanent(errors.New("the device came to a listener while the record was parked"))
	// ErrNotLocated: when it could be released, the record had expired, or its route no longer asks where the device is.
	ErrNotLocated = linkspan.Permanent(errors.New("the record was parked until it expired, or its route no longer asks where the device is"))
)

// Unknown is what becomes of a record whose device nobody has seen.
type Unknown byte

// What becomes of a record whose device nobody has seen.
const (
	Park       Unknown = iota // it waits until the device is seen
	Flood                     // it goes to all client endpoints of its route
	DeadLetter                // it is refused with ErrUnknownDevice
)

// Located is a record that goes to the one endpoint where its device is.
type Located struct {
	Device    string   // borrowed from the message
	Endpoints []string // the client endpoints that the route reaches
	Listeners []string // the listeners that it reaches; they have the record from the live path
	Unknown   Unknown
	ParkFor   time.Duration // 0: as the fleet is configured
}

// A Reader reads back about maxBytes of a partition, from an offset on, and returns the offset to go on from, from itself
// where there is nothing more. A permanent error means that the offset is gone.
type Reader func(ctx context.Context, topic string, partition int32, from int64, maxBytes int, visit func(m *linkspan.Message)) (next int64, err error)

// Parts are what a [Router] and a [Parking] are given. None may be nil but Log.
type Parts struct {
	// Locate tells which device a record is for and where its route may send it; false for a record that is no concern of ours.
	// It may set fields of m, but not m.Record.
	Locate func(m *linkspan.Message) (loc Located, ok bool, err error)
	// To writes to Kafka.
	To linkspan.Sink
	// Read reads back what is parked.
	Read Reader
	// Refuse puts a record into the dead letter topic, with why. It is used like Send of a [linkspan.Sink].
	Refuse func(ctx context.Context, m *linkspan.Message, why error, done func(error))
	// Log is told of what goes wrong. Default: nobody is.
	Log *slog.Logger
}

// Lane returns the lane, of that many, of an endpoint or a device. It never changes: what is in Kafka is found by it.
func Lane(name string, lanes int32) int32 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int32(h % uint32(lanes))
}
