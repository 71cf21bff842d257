package amqp_test

import (
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
)

// P6: clients that would read for group after group, whoever they are, are told when it is enough: each group is a Kafka client.
func TestGroupsAreBounded(t *testing.T) {
	b := run(t, setup{groups: group.Options{MaxReaders: 1}})
	b.dial().Receiver("t/group.id/g", 1)
	c := b.dial()
	c.Receiver("t/group.id/g", 1)
	for _, address := range []string{"t/group.id/h", "t/ConsumerGroups/h/Partitions/0"} {
		_, err := c.TryReceiver(frame.Attach{Source: &frame.Source{Address: frame.Some(address)}})
		if err == nil || err.Condition != frame.ResourceLimitExceeded {
			t.Errorf("%s: %v", address, err)
		}
	}
}
