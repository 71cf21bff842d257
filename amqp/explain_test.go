package amqp

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	live := func(address string) bool { return address == "sensors/#" }
	for address, want := range map[string]string{
		"a/b/group.id/g":                       "records of Kafka topic a.b, shared by the receivers of group g",
		"orders/ConsumerGroups/g/Partitions/3": "all records of partition 3 of Kafka topic orders, with the position of group g",
		"topic://sensors/#":                    "live messages that go down to sensors/#",
		"orders":                               "nothing, refused with io.strimzi:no-group-id: ",
	} {
		if got := Explain(address, live); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if topic, err := TargetTopic("/a/b"); topic != "a/b" || err != nil {
		t.Errorf("%q %v", topic, err)
	}
	if _, err := TargetTopic("a/#"); err == nil || !strings.Contains(err.Error(), "wildcards") {
		t.Error(err)
	}
}
