package bridge

import "github.com/linkspan/linkspan/fleet"

// withFinder reads values of what finds devices, if there is such.
func withFinder(values func(f *finder, set func(float64, ...string))) read {
	return func(b *bridge, set func(float64, ...string)) {
		if b.member != nil && b.member.finder != nil {
			values(b.member.finder, set)
		}
	}
}

// ofFinder reads one value of it.
func ofFinder[T number](value func(f *finder) T) read {
	return withFinder(func(f *finder, set func(float64, ...string)) { set(float64(value(f))) })
}

// fleetFamilies is what this process counts as one of its fleet.
func fleetFamilies() []family {
	return []family{
		gauge("fleet_lanes", "Lanes that this process has.", func(b *bridge, set func(float64, ...string)) {
			if b.member != nil && b.member.shards != nil {
				set(float64(len(b.member.shards.Owned())))
			}
		}),
		counter("fleet_lane_changes_total", "Lanes that came to this process and went from it, by how: taken, returned, lost.",
			func(b *bridge, set func(float64, ...string)) {
				if b.member != nil && b.member.shards != nil {
					s := b.member.shards.Stats()
					set(float64(s.Taken.Load()), "taken")
					set(float64(s.Returned.Load()), "returned")
					set(float64(s.Lost.Load()), "lost")
				}
			}, "how"),
		gauge("devices_located", "Devices of which this process knows where they are.",
			ofFinder(func(f *finder) int64 { return f.places.Stats().Devices.Load() })),
		counter("device_sightings_total", "What this process learned of devices: new or moved (learned), seen again after long (refreshed), gone (left), at several endpoints within seconds (flapping), forgotten for age or number (aged, evicted).",
			withFinder(func(f *finder, set func(float64, ...string)) {
				s := f.places.Stats()
				set(float64(s.Learned.Load()), "learned")
				set(float64(s.Refreshed.Load()), "refreshed")
				set(float64(s.Left.Load()), "left")
				set(float64(s.Flapping.Load()), "flapping")
				set(float64(s.Aged.Load()), "aged")
				set(float64(s.Evicted.Load()), "evicted")
			}), "kind"),
		counter("device_write_errors_total", "Locations that could not be written; the device's next message is the next attempt.",
			ofFinder(func(f *finder) uint64 { return f.places.Stats().WriteErrors.Load() })),
		gauge("parked_records", "Records that wait for devices that nobody has seen, as this process knows.",
			ofFinder(func(f *finder) int64 { return f.parking.Stats().Records.Load() })),
		gauge("parked_devices", "Devices that they wait for.", ofFinder(func(f *finder) int64 { return f.parking.Stats().Devices.Load() })),
		counter("parked_ended_records_total", "Records that this process took out of parking, by what became of them: released, refused, lost.",
			withFinder(func(f *finder, set func(float64, ...string)) {
				s := f.parking.Stats()
				set(float64(s.Released.Load()), "released")
				set(float64(s.Refused.Load()), "refused")
				set(float64(s.Lost.Load()), "lost")
			}), "outcome"),
		counter("router_records_total", "Records for a device that this process routed, by outcome: inbox, flooded, parked, local (the device is on a listener), unknown, full (max_parked), refused, failed (to be tried again), passed (no concern of the router).",
			withFinder(func(f *finder, set func(float64, ...string)) {
				for outcome, n := range outcomes(f.router.Stats()) {
					set(float64(n), outcome)
				}
			}), "outcome"),
		gauge("router_lag_records", "Records for devices that this process has still to route.",
			ofFinder(func(f *finder) int64 { return f.consumer.Lag() })),
	}
}

func outcomes(s *fleet.RouterStats) map[string]uint64 {
	return map[string]uint64{
		"inbox": s.Inbox.Load(), "flooded": s.Flooded.Load(), "parked": s.Parked.Load(), "local": s.Local.Load(), "unknown": s.Unknown.Load(),
		"full": s.Full.Load(), "refused": s.Refused.Load(), "failed": s.Failed.Load(), "passed": s.Passed.Load(),
	}
}
