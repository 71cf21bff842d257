//go:build race

package outage

// defaultSeeds: under the race detector everything takes three times as long. `make e2e` plays more, without it.
const defaultSeeds = 120
