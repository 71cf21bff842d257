//go:build !race

package outage

// defaultSeeds: see race_test.go.
const defaultSeeds = 2000
