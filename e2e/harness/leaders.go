package harness

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// MoveLeaders makes another broker the leader of each of a topic's partitions, the next in the list of those that have it, and
// returns when all know.
func MoveLeaders(ctx context.Context, addrs []string, topic string) error {
	client, err := Client(addrs)
	if err != nil {
		return err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	partitions, err := topicPartitions(ctx, adm, topic)
	if err != nil {
		return err
	}
	var moves kadm.AlterPartitionAssignmentsReq
	var all kadm.TopicsSet
	leaders := map[int32]int32{}
	for _, p := range partitions {
		replicas := append(p.Replicas[1:len(p.Replicas):len(p.Replicas)], p.Replicas[0])
		moves.Assign(topic, p.Partition, replicas)
		all.Add(topic, p.Partition)
		leaders[p.Partition] = replicas[0]
	}
	moved, err := adm.AlterPartitionAssignments(ctx, moves)
	if err := errors.Join(err, moved.Error()); err != nil {
		return err
	}
	return Until(ctx, func() error {
		if _, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, all); err != nil {
			return err
		}
		partitions, err := topicPartitions(ctx, adm, topic)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			if p.Leader != leaders[p.Partition] {
				return fmt.Errorf("partition %d of %s is led by broker %d, not %d", p.Partition, topic, p.Leader, leaders[p.Partition])
			}
		}
		return nil
	})
}

// InSync waits until so many replicas of each partition of a topic are in sync.
func InSync(ctx context.Context, addrs []string, topic string, n int) error {
	client, err := Client(addrs)
	if err != nil {
		return err
	}
	defer client.Close()
	return Until(ctx, func() error {
		partitions, err := topicPartitions(ctx, kadm.NewClient(client), topic)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			if len(p.ISR) != n {
				return fmt.Errorf("partition %d of %s is in sync on %v, which are not %d", p.Partition, topic, p.ISR, n)
			}
		}
		return nil
	})
}

func topicPartitions(ctx context.Context, adm *kadm.Client, topic string) ([]kadm.PartitionDetail, error) {
	topics, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	return topics[topic].Partitions.Sorted(), topics[topic].Err
}
