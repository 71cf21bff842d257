//go:build !race

package linkspan

// raceEnabled: see race_test.go.
const raceEnabled = false
