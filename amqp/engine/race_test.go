//go:build race

package engine

// slowdown is by how much less is done with the race detector, which makes everything slower.
const slowdown = 5
