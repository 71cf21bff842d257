//go:build race

package outage

// defaultSeeds: under the race detector everything takes three times as long.
const defaultSeeds = 500
