package kafka

import (
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// newPartitioner returns the partitioner of that name, for records that do not name their partition. Those without a key
// go to one partition for 64 KiB and then to another, where less waits, as Kafka's own clients do since 3.3.
func newPartitioner(name string) kgo.Partitioner {
	var hash kgo.PartitionerHasher // nil: murmur2, as Kafka's Java clients do
	if name == "crc32" {
		hash = func(key []byte, n int) int { return int(crc32.ChecksumIEEE(key) % uint32(n)) }
	}
	return partitioner{kgo.UniformBytesPartitioner(64<<10, true, true, hash)}
}

type partitioner struct{ kgo.Partitioner }

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return &topicPartitioner{p.Partitioner.ForTopic(topic).(backupPartitioner)}
}

type backupPartitioner interface {
	kgo.TopicPartitioner
	kgo.TopicBackupPartitioner
}

// topicPartitioner lets a record that names its partition have it.
type topicPartitioner struct{ backupPartitioner }

// noPartition marks a record whose partition does not exist: the Kafka client fails it with an error that only its text tells
// from others.
const noPartition = -2

func (p *topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.backupPartitioner.RequiresConsistency(r)
}

func (p *topicPartitioner) PartitionByBackup(r *kgo.Record, n int, backup kgo.TopicBackupIter) int {
	if r.Partition < 0 {
		return p.backupPartitioner.PartitionByBackup(r, n, backup)
	}
	if int(r.Partition) >= n {
		r.Partition = noPartition
		return -1
	}
	return int(r.Partition)
}
