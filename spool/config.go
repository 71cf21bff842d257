package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is the `spool:` section of the configuration. Start from [Default]: zero is not the default of every field.
type Config struct {
	// Dir is the directory of the spool; it belongs to one process at a time. Default: spool in Linkspan's directory of the
	// user's data ($XDG_DATA_HOME/linkspan, or ~/.local/share/linkspan). "off": no spool.
	Dir string `yaml:"dir"`
	// MaxBytes bounds the disk space that the spool takes; what happens beyond it is each route's `full`. Default 10 GiB
	// (10737418240), at least 1 MiB.
	MaxBytes int64 `yaml:"max_bytes"`
	// MinFree is how many bytes of the file system are left to others: with less than that free, the spool counts as full.
	// Default 256 MiB (268435456). 0 fills the disk, which then fails rather than is full: all routes hold, whatever their `full`.
	MinFree int64 `yaml:"min_free"`
	// MaxAge is how long a message may wait in the spool; an older one is dropped and counted. Default 0: for ever.
	MaxAge time.Duration `yaml:"max_age"`
	// SegmentBytes is the size of the files that the spool is written to, each allocated as a whole and deleted as a whole.
	// Default 64 MiB (67108864), at least 64 KiB, at most a quarter of MaxBytes.
	SegmentBytes int64 `yaml:"segment_bytes"`
	// After is how long Kafka may leave a message without its acknowledgement before the spool takes over. It is a quarter of
	// that while there is no connection to any broker. Default 2s, at least 400ms, at most 1h.
	After time.Duration `yaml:"after"`
	// Drain is how the spool is emptied into Kafka.
	Drain DrainConfig `yaml:"drain"`
}

// DrainConfig is `spool.drain`.
type DrainConfig struct {
	// MaxInFlight bounds the messages of one route that are handed to Kafka out of the spool and not acknowledged. Default
	// 10000, at least 1.
	MaxInFlight int `yaml:"max_in_flight"`
	// Refill is how few of these there must be before more is read, once there were MaxInFlight. Default 0: half of MaxInFlight.
	Refill int `yaml:"refill"`
	// Timeout is how long what is in flight may take to settle when the process stops. What is on disk by then stays there for the
	// next start. Default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// Default returns the configuration without any setting made. It has no Dir.
func Default() Config {
	return Config{
		MaxBytes: 10 << 30, MinFree: 256 << 20, SegmentBytes: 64 << 20, After: 2 * time.Second,
		Drain: DrainConfig{MaxInFlight: 10000, Timeout: 10 * time.Second},
	}
}

// Validate returns all that is wrong with c, each with its key and a remedy. It opens no file.
func (c *Config) Validate() error {
	var errs []error
	check := func(key string, ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("spool."+key+": "+format, args...))
		}
	}
	check("max_bytes", c.MaxBytes >= 1<<20, "must be at least 1048576, is %d", c.MaxBytes)
	check("min_free", c.MinFree >= 0, "must not be negative; 0 fills the disk")
	check("max_age", c.MaxAge >= 0, "must not be negative; 0 keeps messages for ever")
	check("segment_bytes", c.SegmentBytes >= 64<<10 && c.SegmentBytes <= c.MaxBytes/4,
		"must be at least 65536 and at most a quarter of max_bytes, is %d; set it to %d", c.SegmentBytes, max(c.MaxBytes/16&^65535, 65536))
	check("after", c.After >= 4*tick && c.After <= time.Hour, "must be between %v and 1h, is %v", 4*tick, c.After)
	check("drain.max_in_flight", c.Drain.MaxInFlight >= 1, "must be at least 1, is %d", c.Drain.MaxInFlight)
	check("drain.refill", c.Drain.Refill >= 0 && c.Drain.Refill < max(c.Drain.MaxInFlight, 1), "must be less than max_in_flight, is %d", c.Drain.Refill)
	check("drain.timeout", c.Drain.Timeout >= 0, "must not be negative; 0 waits for nothing")
	return errors.Join(errs...)
}

// Ack is when a message of a lane is acknowledged to its sender.
type Ack uint8

// The ack points.
const (
	// AckKafkaElseSpool: when all in-sync replicas have it, or, while Kafka does not answer, when it is on the local disk.
	AckKafkaElseSpool Ack = iota
	// AckKafka: when all in-sync replicas have it, and never before.
	AckKafka
	// AckSpool: when it is on the local disk; every message goes through the spool.
	AckSpool
	// AckMemory: when it is in memory. What is not in Kafka yet is lost with the process.
	AckMemory
)

var ackNames = []string{"kafka-else-spool", "kafka", "spool", "memory"}

func (a Ack) String() string { return ackNames[a] }

func (a Ack) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func (a *Ack) UnmarshalText(text []byte) error { return parse(a, text, ackNames) }

// Full is what becomes of messages of a lane while the spool is full.
type Full uint8

// What can be done while the spool is full.
const (
	// FullHold: they stay with their senders, unacknowledged.
	FullHold Full = iota
	// FullRefuse: they are refused with [linkspan.ErrQuota].
	FullRefuse
	// FullDropOldest: they are taken, and the oldest of the lane are dropped for them.
	FullDropOldest
	// FullDropNewest: they are acknowledged and dropped.
	FullDropNewest
)

var fullNames = []string{"hold", "refuse", "drop-oldest", "drop-newest"}

func (f Full) String() string { return fullNames[f] }

func (f Full) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func (f *Full) UnmarshalText(text []byte) error { return parse(f, text, fullNames) }

func parse[T ~uint8](to *T, text []byte, names []string) error {
	i := slices.Index(names, string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of %s", text, strings.Join(names, ", "))
	}
	*to = T(i)
	return nil
}
