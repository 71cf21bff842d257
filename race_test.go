//go:build race

package linkspan

// raceEnabled: the race detector's sync.Pool drops at random, so allocations are not counted under it.
const raceEnabled = true
