// Package outage has no code, only a test: random schedules of what Kafka, the network, the disk and the process can do to
// messages between a device's publish and its record, in virtual time. Everything is the real thing but the two ends, a Kafka
// in memory and a disk in memory that loses power.
package outage
