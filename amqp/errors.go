package amqp

import "github.com/linkspan/linkspan/amqp/frame"

// Error conditions that AMQP has no words for, with the names that the clients of the bridge before us know (AKB 4.2).
const (
	errNoFreePartitions frame.Symbol = "io.strimzi:no-free-partitions"
	errNoGroupID        frame.Symbol = "io.strimzi:no-group-id"
	errNoPartition      frame.Symbol = "io.strimzi:partition-not-exists"
	errKafka            frame.Symbol = "io.strimzi:error-to-kafka"
	errPartitionFilter  frame.Symbol = "io.strimzi:wrong-partition-filter"
	errOffsetFilter     frame.Symbol = "io.strimzi:wrong-offset-filter"
	errOffsetAlone      frame.Symbol = "io.strimzi:no-partition-filter"
	errFilter           frame.Symbol = "io.strimzi:wrong-filter"
	errSubscribe        frame.Symbol = "io.strimzi:kafka-subscribe"
)

func refuse(condition frame.Symbol, text string) *frame.Error {
	return &frame.Error{Condition: condition, Description: text}
}
