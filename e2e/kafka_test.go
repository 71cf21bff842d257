package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// producer returns a Kafka client for the length of the test.
func producer(t *testing.T, kafka *harness.Kafka) *kgo.Client {
	t.Helper()
	client, err := harness.Client(kafka.Addrs())
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

// record returns a record with headers given as name, value, name, value.
func record(topic, key string, value []byte, headers ...string) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: value}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

// header returns the value of a record's header, "" where there is none.
func header(r *kgo.Record, name string) string {
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == name })
	if i < 0 {
		return ""
	}
	return string(r.Headers[i].Value)
}

// A tap collects the records of a topic as they come.
type tap struct {
	mu      sync.Mutex
	records []*kgo.Record
}

// open returns a tap that reads topic from its start until the test ends.
func open(t *testing.T, kafka *harness.Kafka, topic string) *tap {
	t.Helper()
	client, err := harness.Client(kafka.Addrs(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var tap tap
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			tap.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) { tap.records = append(tap.records, r) })
			tap.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		stop()
		reading.Wait()
		client.Close()
	})
	return &tap
}

// all returns the records so far that match.
func (p *tap) all(match func(*kgo.Record) bool) []*kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []*kgo.Record
	for _, r := range p.records {
		if match(r) {
			found = append(found, r)
		}
	}
	return found
}

// wait returns the first record that matches, as soon as there is one.
func (p *tap) wait(t *testing.T, match func(*kgo.Record) bool) *kgo.Record {
	t.Helper()
	var found []*kgo.Record
	must(t, harness.Until(deadline(t), func() error {
		if found = p.all(match); len(found) == 0 {
			return errors.New("the record is not in Kafka")
		}
		return nil
	}))
	return found[0]
}

// number returns the nth record, from 1 on, as soon as there is one.
func (p *tap) number(t *testing.T, n int) *kgo.Record {
	t.Helper()
	var all []*kgo.Record
	must(t, harness.Until(deadline(t), func() error {
		if all = p.all(func(*kgo.Record) bool { return true }); len(all) < n {
			return fmt.Errorf("%d of %d records are in Kafka", len(all), n)
		}
		return nil
	}))
	return all[n-1]
}

// fromTopic matches records that were published to an MQTT topic.
func fromTopic(topic string) func(*kgo.Record) bool {
	return func(r *kgo.Record) bool { return header(r, "mqtt.topic") == topic }
}

// balance reads what arrived in Kafka topics into the ledger, waits until nothing is missing, and returns the report. Loss, disorder, and what
// nobody sent fail the test; duplicates do unless they are allowed. The balance is printed.
func balance(t *testing.T, addrs []string, ledger *harness.Ledger, duplicates bool, topics ...string) harness.Report {
	t.Helper()
	var broken error
	if err := harness.ReadUntil(deadline(t), addrs, func(r *kgo.Record) {
		device, n, err := harness.ParsePayload(r.Value)
		if err == nil && string(r.Key) != device {
			err = fmt.Errorf("the record of %s has key %q", device, r.Key)
		}
		if err != nil {
			broken = err
			return
		}
		ledger.Arrived(device, n, r.Partition)
	}, func() bool { return ledger.Missing() == 0 }, topics...); err != nil {
		t.Error(err)
	}
	must(t, broken)
	return judge(t, ledger, duplicates)
}

// judge prints the balance and fails the test for what must not be.
func judge(t *testing.T, ledger *harness.Ledger, duplicates bool) harness.Report {
	t.Helper()
	report := ledger.Report()
	t.Log(report)
	must(t, report.Err())
	if report.Duplicates > 0 && !duplicates {
		t.Fatal("duplicates, and nobody was killed")
	}
	return report
}
