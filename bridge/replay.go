package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/route"
)

// Replayed is what became of one letter.
type Replayed struct {
	Letter Letter
	To     string // the Kafka topic that it goes to; "": none
	Err    error  // why it was not sent; nil: it was, or would be
}

// ReplayTotal counts letters by what became of them.
type ReplayTotal struct {
	Sent   int // or would be, in a dry run
	Left   int // cannot be sent, or Kafka refused them
	Before int // were sent again earlier, and are left alone
}

// A Replay sends dead letters again.
type Replay struct {
	Letters
	DryRun bool // says what it would do

	// Confirm is asked once, with how many letters there are to send and the bytes of their payloads; false ends it.
	Confirm func(letters, bytes int) bool
	// Tell is told of each letter that was not sent again before, in the order of each partition.
	Tell func(r Replayed)
}

// ReplayDeadLetters sends letters again to where they were for, once each: a letter that came up, to the Kafka topic that the routes of cfg
// give it now; one that came down, to the Kafka topic and partition that it came from, for the endpoint that it was for alone. Each
// is marked in the dead letter topic as soon as Kafka has it, so that it is not sent again by the next call; one that was sent
// and not marked when the process is killed is. The header linkspan.replayed tells such apart. ctx ends it between two letters.
func ReplayDeadLetters(ctx context.Context, cfg Config, r Replay, log *slog.Logger) (total ReplayTotal, err error) {
	office, err := openOffice(ctx, cfg, r.Letters, log)
	if err != nil {
		return total, err
	}
	defer office.client.Close()
	s := sender{office: office, r: r, cfg: &cfg, total: &total}
	var specs topicSpecs
	if s.routes, err = cfg.table(specs.add); err != nil {
		return total, err
	}
	office.client.SpecifyTopics(specs.get)
	names, err := office.client.Topics(ctx)
	if err != nil {
		return total, err
	}
	s.routes.Learn(names) // they count for max_topics
	count, size, err := s.survey(ctx)
	if err != nil || count == 0 || !r.Confirm(count, size) {
		return total, err
	}
	for _, span := range office.spans {
		var chunk []*linkspan.Message
		flush := func() error {
			err := s.send(ctx, chunk)
			chunk = chunk[:0]
			return err
		}
		size, failed := 0, error(nil)
		err := office.read(ctx, span, func(m *linkspan.Message) {
			if l := newLetter(m); failed != nil || !s.sends(m, &l) {
				return
			}
			chunk = append(chunk, m.Clone())
			if size += len(m.Payload); size >= readBytes || len(chunk) >= 1000 {
				failed, size = flush(), 0
			}
		})
		if err = errors.Join(err, failed); err == nil {
			err = flush()
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// A sender sends letters again.
type sender struct {
	*office
	r      Replay
	cfg    *Config
	routes *route.Table
	marked map[Place]bool
	total  *ReplayTotal
}

// survey learns which letters are marked, and counts those that are to be sent.
func (s *sender) survey(ctx context.Context) (count, size int, err error) {
	s.marked = map[Place]bool{}
	learn := func(m *linkspan.Message) {
		if at, ok := isMark(m); ok {
			s.marked[at] = true
		}
	}
	tally := func(m *linkspan.Message) {
		switch l := newLetter(m); {
		case s.sends(m, &l):
			count++
			size += l.Size
		case s.marked[l.At()] && s.r.takes(&l):
			s.total.Before++
		}
	}
	for _, visit := range []func(m *linkspan.Message){learn, tally} {
		for _, span := range s.spans {
			if err := s.read(ctx, span, visit); err != nil {
				return 0, 0, err
			}
		}
	}
	return count, size, nil
}

// sends reports whether a record of the dead letter topic is a letter that is to be sent.
func (s *sender) sends(m *linkspan.Message, l *Letter) bool {
	_, mark := isMark(m)
	return !mark && s.r.takes(l) && !s.marked[l.At()]
}

// send sends letters, in order, waits for Kafka, and tells of each.
func (s *sender) send(ctx context.Context, letters []*linkspan.Message) error {
	results := make([]Replayed, len(letters))
	var flying sync.WaitGroup
	for i, m := range letters {
		r := &results[i]
		r.Letter = newLetter(m)
		place := r.Letter.At().String()
		if r.Err = s.address(m, &r.Letter); r.Err != nil {
			continue
		}
		if r.To = m.Record.Topic; s.r.DryRun {
			continue
		}
		m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: headerReplayed, Value: []byte(place)})
		flying.Add(1)
		s.client.Producer().Send(ctx, m, func(err error) {
			if err != nil {
				r.Err = err
				flying.Done()
				return
			}
			s.mark(ctx, &r.Letter, func(err error) {
				if err != nil {
					r.Err = fmt.Errorf("it was sent, and could not be marked: %w; it will be sent once more", err)
				}
				flying.Done()
			})
		})
	}
	if err := s.wait(ctx, &flying); err != nil {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			s.total.Left++
		} else {
			s.total.Sent++
		}
		s.r.Tell(r)
	}
	return nil
}

// wait waits until Kafka has answered for all that was sent. When ctx ends before, the client is closed, which ends them.
func (s *sender) wait(ctx context.Context, flying *sync.WaitGroup) error {
	defer context.AfterFunc(ctx, s.client.Close)()
	flying.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("%w before Kafka had answered for all: what it did take and is not marked is sent once more next time", context.Cause(ctx))
	}
	return nil
}

// mark writes down that a letter was sent, behind it in its own partition.
func (s *sender) mark(ctx context.Context, l *Letter, done func(error)) {
	s.client.Producer().Send(ctx, &linkspan.Message{Record: linkspan.Record{
		Topic: s.topic, Partition: l.Partition, Key: []byte(l.At().String()),
		Headers: []linkspan.Header{{Key: headerReplayed, Value: []byte(l.At().String())}},
	}}, done)
}

// address makes of a letter the record that is to be written, or says why there is none.
func (s *sender) address(m *linkspan.Message, l *Letter) error {
	switch {
	case l.Reason == "":
		return errors.New("it is no dead letter of Linkspan: it has no header " + headerReason)
	case l.Cut:
		return fmt.Errorf("only the first %d of its %d bytes are there", len(m.Payload), l.Size)
	case strings.Contains(l.Reason, linkspan.ErrLoop.Error()):
		return errors.New("it would go round again; see docs/client-endpoints.md, Loops")
	}
	err := s.up
	if l.Down {
		err = s.down
	}
	if err := err(m, l); err != nil {
		return err
	}
	if m.Record.Topic == s.topic {
		return errors.New("its route leads to the dead letter topic itself")
	}
	return nil
}

// up has the routes say where a message of a device goes now.
func (s *sender) up(m *linkspan.Message, l *Letter) error {
	if _, ok := s.cfg.Endpoints[l.Endpoint]; !ok {
		return fmt.Errorf("it came from the endpoint %q, which the configuration does not have", l.Endpoint)
	}
	asked, err := partitionOf(m)
	if err != nil {
		return err
	}
	m.Topic, m.Endpoint, m.Record.Partition = l.Topic, l.Endpoint, asked
	ok, err := s.routes.UpAgain(m)
	if err == nil && !ok {
		err = errors.New("a broker had retained it, and its route skips such")
	}
	return err
}

// down has a record written to its topic once more, for the endpoint that it was for.
func (s *sender) down(m *linkspan.Message, l *Letter) error {
	partition, err := partitionOf(m)
	if err != nil {
		return err
	}
	ofReceivers := m.Record.Header(headerAddress) != nil || strings.Contains(l.Reason, group.ErrUndeliverable.Error())
	headers := slices.DeleteFunc(m.Record.Headers, func(h linkspan.Header) bool { return addedToLetters(h.Key) })
	m.Record = linkspan.Record{Topic: l.Topic, Partition: partition, Key: m.Record.Key, Tombstone: m.Record.Tombstone, Headers: headers}
	if ofReceivers { // no route has led to them: they read the topic as a group
		m.Record.Headers = append(headers, linkspan.Header{Key: route.HeaderFor, Value: []byte(l.Endpoint)})
		return nil
	}
	e := s.routes.ExplainDown(m)
	switch {
	case e.Err != nil:
		return e.Err
	case e.Located != nil && e.Located.Device == "":
		return route.ErrNoDevice
	case e.Message.Expired(time.Now()):
		return errors.New("it has expired")
	case e.Located == nil && l.Endpoint == "":
		return fmt.Errorf("it had not got to an endpoint, and the route %s asks for no device any more", e.Route)
	case e.Located == nil && !slices.ContainsFunc(e.Ways, func(w route.Way) bool { return w.Client && w.Endpoint == l.Endpoint }):
		return fmt.Errorf("the route %s does not go to the endpoint %q any more", e.Route, l.Endpoint)
	}
	m.Record.Headers = append(headers, linkspan.Header{Key: route.HeaderFor, Value: []byte(l.Endpoint)})
	return nil
}

// partitionOf returns the partition that a letter names, AnyPartition if it names none.
func partitionOf(m *linkspan.Message) (int32, error) {
	text := m.Record.Header(headerPartition)
	if text == nil {
		return linkspan.AnyPartition, nil
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("its header %s is no number", headerPartition)
	}
	return int32(n), nil
}

// addedToLetters reports whether a header is one that a letter has beside those of its message.
func addedToLetters(header string) bool {
	switch header {
	case "linkspan.origin", "linkspan.hops":
		return false
	}
	return strings.HasPrefix(header, "linkspan.")
}
