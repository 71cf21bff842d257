package amqp

import (
	"fmt"

	"github.com/linkspan/linkspan"
)

// Explain tells people what a receiver of an address gets, or why nothing. isLive is [Routes].Live.
func Explain(address string, isLive func(address string) bool) string {
	p, refused := sourcePlace(address, isLive)
	switch {
	case refused != nil:
		return fmt.Sprintf("nothing, refused with %s: %s", refused.Condition, refused.Description)
	case p.live != "":
		return "live messages that go down to " + p.live
	case p.partition == linkspan.AnyPartition:
		return fmt.Sprintf("records of Kafka topic %s, shared by the receivers of group %s", p.topic, p.group)
	}
	return fmt.Sprintf("all records of partition %d of Kafka topic %s, with the position of group %s", p.partition, p.topic, p.group)
}

// TargetTopic returns what routes see of an address that is sent to. The error says why nobody can.
func TargetTopic(address string) (string, error) {
	topic, refused := targetTopic(address)
	if refused != nil {
		return "", refused
	}
	return topic, nil
}
