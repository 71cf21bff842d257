package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Names that the figures under the table refer to.
const (
	appendAlone  = "spool alone, 50 × 100, no network"
	appendUplink = "uplink 50 × 100, ack: spool, Kafka away"
	built        = "backlog is built, Kafka away"
	recovered    = "it is found again after a kill"
	drained      = "it is drained to Apache Kafka"
	unpacedAcks  = "50 × 100"
	pacedAcks    = "20,000/s paced"
	bareDrain    = "bare producer, 10,000 in flight, headers"
)

// onSpool is a Linkspan whose Kafka cannot be reached. It can in the place of $NOWHERE.
const onSpool = `
kafka: {brokers: ["$NOWHERE"]}
admin: {listen: "$ADMIN"}
spool: {max_bytes: 1000000000000}
endpoints: {devices: {listen: "mqtt://$MQTT"}}
routes:
  - {name: up, from: "mqtt:bench/{device}", to: "kafka:$UP", key: "{device}", ack: spool}
`

// acks are the ack points that are compared.
var acks = []string{"kafka", "kafka-else-spool", "spool"}

// turns are the slices in which they are measured. Each comes once after each, itself too, as what Kafka and the disk still do for one
// is at the cost of the next; before the first is the last of acks.
var turns = []int{2, 0, 0, 1, 1, 2, 1, 0, 2}

// onAcks is a Linkspan with a route for each.
const onAcks = `
kafka: {brokers: ["$KAFKA"]}
admin: {listen: "$ADMIN"}
endpoints: {devices: {listen: "mqtt://$MQTT"}}
routes:
  - {from: "mqtt:ack-0/{device}", to: "kafka:$UP", key: "{device}", ack: kafka}
  - {from: "mqtt:ack-1/{device}", to: "kafka:$UP", key: "{device}"}
  - {from: "mqtt:ack-2/{device}", to: "kafka:$UP", key: "{device}", ack: spool}
`

// storeAlone measures the spool in a process of its own that only has senders.
func storeAlone(l *lab) (result, error) {
	dir := l.folder("spool")
	defer os.RemoveAll(dir)
	b, err := l.child("spool", "-dir", dir)
	return b.result(), err
}

// appends measures devices whose messages go to the disk and stay there.
func appends(l *lab) (result, error) {
	s, _, _, err := l.bridge(onSpool)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	r, p, err := s.take(load{devices: 50, window: 100, payload: large}, l.length)
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, s.Tail(4000))
	}
	kept, err := s.metric("linkspan_spool_messages")
	r.lost, r.peak = max(0, p.all-int(kept)), s.peak()
	return r, err
}

// ackRows are the names of compareAcks' results for a load.
func ackRows(of string) (rows []string) {
	for _, ack := range acks {
		rows = append(rows, "uplink "+of+", ack: "+ack)
	}
	return rows
}

// compareAcks measures the same load with each ack point, in one process, in slices that take turns: two processes in a row differ
// by more than what is to be seen.
func compareAcks(of string, load load) scenario {
	load.payload, load.warm = large, 300*time.Millisecond
	return scenario{ackRows(of), func(l *lab) ([]result, error) {
		s, up, _, err := l.bridge(onAcks)
		if err != nil {
			return nil, err
		}
		defer s.close()
		rs, samples, sent := make([]result, len(acks)), make([]latencies, len(acks)), 0
		slice := func(i int, length time.Duration) error {
			load.prefix = fmt.Sprintf("ack-%d", i)
			before := s.cpu()
			r, p, err := s.take(load, length)
			if err != nil {
				return fmt.Errorf("%w\n%s", err, s.Tail(4000))
			}
			sent += p.all
			err = s.until("linkspan_spool_messages", func(v float64) bool { return v == 0 }) // what is left is not the next one's
			used := s.cpu() - before                                                         // from the first to the last that is in Kafka
			rs[i].cpu += time.Duration(float64(used) * float64(r.messages) / float64(p.all))
			rs[i].messages += r.messages
			rs[i].elapsed += r.elapsed
			samples[i] = append(samples[i], p.acks...)
			return err
		}
		for i := range acks { // the leaders, the producer's identity, the files
			if err := slice(i, warmUp/2); err != nil {
				return nil, err
			}
			rs[i], samples[i] = result{}, nil
		}
		for _, i := range turns {
			if err := slice(i, l.length*time.Duration(len(acks))/time.Duration(len(turns))); err != nil {
				return nil, err
			}
		}
		stored, err := count(l.ctx, s.kafka, up)
		for i := range rs {
			rs[i].ackP50, rs[i].ackP99 = samples[i].quantile(0.5), samples[i].quantile(0.99)
			rs[i].lost = max(0, sent-stored)
		}
		return rs, err
	}}
}

// measureBacklog has devices publish until as much is on disk as is wanted, kills Linkspan, starts it again with Kafka there, waits
// until all is in Kafka, and has the bare producer bring as much there at once.
func measureBacklog(l *lab) (rs []result, err error) {
	home := l.folder("backlog")
	defer os.RemoveAll(home)
	up := filepath.Base(l.folder("bench.up"))
	build, p, err := l.build(home, up)
	if err != nil {
		return nil, err
	}
	addr, err := l.kafka()
	if err == nil {
		err = newTopic(l.ctx, addr, up)
	}
	if err != nil {
		return nil, err
	}
	defer deleteTopics(l.ctx, addr, up)
	start := time.Now()
	s, err := l.started(strings.NewReplacer("$NOWHERE", "$KAFKA", "$UP", up).Replace(onSpool), home)
	if err != nil {
		return nil, err
	}
	defer s.close()
	found := result{opened: -1, disk: build.disk}
	for found.opened < 0 {
		if strings.Contains(s.Tail(1<<20), "spool has messages from before") {
			found.opened = time.Since(start)
		} else if time.Sleep(2 * time.Millisecond); !s.Running() {
			return nil, fmt.Errorf("linkspan ended\n%s", s.Tail(4000))
		}
	}
	drain, err := s.drain(p.all)
	if err != nil {
		return nil, err
	}
	stored, err := count(l.ctx, addr, up)
	if err != nil {
		return nil, err
	}
	drain.lost, drain.disk = max(0, p.all-stored), build.disk
	s.close() // the processors are the next one's
	raw, err := l.bareProducer("-records", headers, "-in-flight", "10000", "-payload", strconv.Itoa(large))
	return []result{build, found, drain, raw}, err
}

// build fills a spool in home with what is for a topic, and kills who did it.
func (l *lab) build(home, up string) (r result, p published, err error) {
	s, err := l.started(strings.ReplaceAll(onSpool, "$UP", up), home)
	if err != nil {
		return r, p, err
	}
	defer s.close()
	if err := s.ready(l.ctx, s.healthy); err != nil {
		return r, p, err
	}
	load := load{devices: 50, window: 100, payload: large}
	load.until = func() bool {
		size, err := s.metric("linkspan_spool_disk_bytes")
		return err != nil || size >= l.backlog
	}
	r, p, err = s.take(load, 0)
	if err != nil {
		return r, p, fmt.Errorf("%w\n%s", err, s.Tail(4000))
	}
	size, err := s.metric("linkspan_spool_disk_bytes")
	kept, err2 := s.metric("linkspan_spool_messages")
	r.lost, r.peak, r.disk = max(0, p.all-int(kept)), s.peak(), int64(size)
	return r, p, errors.Join(err, err2)
}

// drain waits until the spool, which has had n messages, has none, and measures from when the first left it.
func (s *server) drain(n int) (r result, err error) {
	const gone = "linkspan_spool_drained_messages_total"
	err = s.until(gone, func(v float64) bool { r.messages = int(v); return v > 0 })
	start, before := time.Now(), s.cpu()
	if err == nil {
		err = s.until(gone, func(v float64) bool { return int(v) >= n })
	}
	r.messages, r.elapsed, r.cpu, r.peak = n-r.messages, time.Since(start), s.cpu()-before, s.peak()
	return r, err
}

// until asks for a metric until ok likes it, ten times a second: each answer costs the server a millisecond or so.
func (s *server) until(name string, ok func(float64) bool) error {
	for late := time.Now().Add(10 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		v, err := s.metric(name)
		switch {
		case err == nil && ok(v):
			return nil
		case !s.Running():
			return fmt.Errorf("%s ended\n%s", s.Name, s.Tail(4000))
		case time.Now().After(late):
			return errors.Join(err, fmt.Errorf("%s is still %v\n%s", name, v, s.Tail(4000)))
		}
	}
}

// metric returns the sum of a metric over its labels. It is an error if there is none of it.
func (s *server) metric(name string) (sum float64, err error) {
	resp, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	found := false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, errors.Join(lines.Err(), fmt.Errorf("there is no metric %s", name))
	}
	return sum, nil
}
