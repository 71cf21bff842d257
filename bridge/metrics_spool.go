package bridge

import (
	"github.com/linkspan/linkspan/spool"
)

// perLane reads one value of each lane of the spool.
func perLane[T int | int64 | uint64 | float64](value func(l *spool.LaneStatus) T) read {
	return eachLane(func(l *spool.LaneStatus, set func(float64, ...string)) { set(float64(value(l)), l.Name) })
}

func eachLane(values func(l *spool.LaneStatus, set func(float64, ...string))) read {
	return ofSpool(func(s *spool.Status, set func(float64, ...string)) {
		for i := range s.Lanes {
			values(&s.Lanes[i], set)
		}
	})
}

// ofSpool reads values of the spool, if there is one.
func ofSpool(values func(s *spool.Status, set func(float64, ...string))) read {
	return func(b *bridge, set func(float64, ...string)) {
		if b.cfg.spooled() {
			s := b.spool.Status()
			values(&s, set)
		}
	}
}

// ofDisk reads one value of the spool's disk.
func ofDisk(value func(d *spool.Disk) int64) read {
	return ofSpool(func(s *spool.Status, set func(float64, ...string)) { set(float64(value(&s.Disk))) })
}

// spoolFamilies is what the spool counts, by route; dead_letter! stands for the dead letters.
func spoolFamilies() []family {
	return []family{
		gauge("spool_messages", "Messages in the spool, by route; dead_letter! stands for dead letters.",
			perLane(func(l *spool.LaneStatus) int64 { return l.Messages }), "route"),
		gauge("spool_bytes", "Bytes of those messages.", perLane(func(l *spool.LaneStatus) int64 { return l.Bytes }), "route"),
		gauge("spool_oldest_age_seconds", "How long the oldest of them has been in the spool; 0 without any.",
			perLane(func(l *spool.LaneStatus) float64 { return l.Oldest.Seconds() }), "route"),
		gauge("spool_eta_seconds", "How long it takes until they are delivered, if it goes on like this; 0 while that is not to be seen.",
			perLane(func(l *spool.LaneStatus) float64 { return l.ETA.Seconds() }), "route"),
		gauge("spool_fill_rate", "Messages a second into the spool, over the last seconds.", perLane(func(l *spool.LaneStatus) float64 { return l.In }), "route"),
		gauge("spool_drain_rate", "Messages a second out of the spool, over the last seconds.", perLane(func(l *spool.LaneStatus) float64 { return l.Out }), "route"),
		gauge("spool_way", "1 for the way that messages of the route take now: direct, spooling, draining, holding, dropping.",
			eachLane(func(l *spool.LaneStatus, set func(float64, ...string)) {
				for w := spool.Direct; w <= spool.Dropping; w++ {
					set(float64(boolean(l.Way == w)), l.Name, w.String())
				}
			}), "route", "way"),
		counter("spool_appended_messages_total", "Messages written to the spool.",
			perLane(func(l *spool.LaneStatus) uint64 { return l.Counters.Spooled }), "route"),
		counter("spool_taken_over_messages_total", "Those of them that Kafka had been handed before and left unacknowledged.",
			perLane(func(l *spool.LaneStatus) uint64 { return l.Counters.TakenOver }), "route"),
		counter("spool_drained_messages_total", "Messages delivered to Kafka out of the spool.",
			perLane(func(l *spool.LaneStatus) uint64 { return l.Counters.Drained }), "route"),
		counter("spool_buried_messages_total", "Messages that Kafka refused for good after they had been handed to it, and that went to the dead letter topic.",
			perLane(func(l *spool.LaneStatus) uint64 { return l.Counters.Buried }), "route"),
		counter("spool_dropped_messages_total", "Messages lost, by reason: oldest, newest (the spool was full), refused (the sender was told so), too_old (max_age), memory (acknowledged from memory and not delivered).",
			eachLane(func(l *spool.LaneStatus, set func(float64, ...string)) {
				c := &l.Counters
				set(float64(c.Oldest), l.Name, "oldest")
				set(float64(c.Newest), l.Name, "newest")
				set(float64(c.Refused), l.Name, "refused")
				set(float64(c.TooOld), l.Name, "too_old")
				set(float64(c.Lost), l.Name, "memory")
			}), "route", "reason"),
		gauge("spool_disk_bytes", "Disk space that the spool takes.", ofDisk(func(d *spool.Disk) int64 { return d.Bytes })),
		gauge("spool_disk_max_bytes", "Disk space that it may take.", ofDisk(func(d *spool.Disk) int64 { return d.MaxBytes })),
		gauge("spool_disk_full", "1 while the spool is full: max_bytes or min_free is reached.", ofDisk(func(d *spool.Disk) int64 { return int64(boolean(d.Full != "")) })),
		gauge("spool_disk_failing", "1 while the disk takes nothing.", ofDisk(func(d *spool.Disk) int64 { return int64(boolean(d.Failing != nil)) })),
		gauge("spool_pending_bytes", "Bytes that wait for the disk to sync them.", ofDisk(func(d *spool.Disk) int64 { return d.Pending })),
		counter("spool_syncs_total", "Syncs of the disk, each for all messages that waited.",
			ofSpool(func(s *spool.Status, set func(float64, ...string)) { set(float64(s.Disk.Syncs)) })),
		counter("spool_sync_seconds_total", "Time that they took together; with the number of them the latency of an acknowledgement.",
			ofSpool(func(s *spool.Status, set func(float64, ...string)) { set(s.Disk.SyncTime.Seconds()) })),
		counter("spool_damaged_total", "Places on the disk that could not be read; what was there is lost.",
			ofSpool(func(s *spool.Status, set func(float64, ...string)) { set(float64(s.Disk.Damaged)) })),
		counter("spool_takeovers_total", "Times that a route went over to the spool since Kafka left its messages unacknowledged.",
			withSpool(func(s *spool.Stats) uint64 { return s.Takeovers.Load() })),
		counter("spool_returns_total", "Times that a route came back from the spool to its direct way.",
			withSpool(func(s *spool.Stats) uint64 { return s.Returns.Load() })),
		counter("spool_rewinds_total", "Times that messages were drained once more since Kafka had given some of them back.",
			withSpool(func(s *spool.Stats) uint64 { return s.Rewinds.Load() })),
	}
}

// withSpool reads one counter of the spool, if there is one.
func withSpool(value func(s *spool.Stats) uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		if b.cfg.spooled() {
			set(float64(value(b.spool.Stats())))
		}
	}
}
