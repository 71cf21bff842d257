// Package outage has no code, only a test: random schedules of what Kafka, the network, the disk, the process and the devices can do
// to messages between a device's PUBLISH and its record, in virtual time. From the listener to the producer everything is the
// real thing. Devices are MQTT clients that note what they are told, Kafka is in memory, and so is the disk, which loses power.
package outage
