package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
)

// A Letter is a dead letter, as people see it.
type Letter struct {
	Partition int32     `json:"partition"` // of the dead letter topic
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`     // when it was given up
	Reason    string    `json:"reason"`   // in words
	Route     string    `json:"route"`    // "": none took it
	Endpoint  string    `json:"endpoint"` // that it came from or was for; "": it had not got to one
	Topic     string    `json:"topic"`    // of MQTT on the way up, of Kafka on the way down
	Down      bool      `json:"down"`
	Attempts  string    `json:"attempts,omitempty"`
	Size      int       `json:"size"`     // of the payload that it had, in bytes
	Cut       bool      `json:"cut"`      // only the head of the payload is there
	Replayed  bool      `json:"replayed"` // it was sent again already
}

// At returns where the letter is.
func (l *Letter) At() Place { return Place{l.Partition, l.Offset} }

// headerReplayed names the letter that a record was made from. In the dead letter topic, with nothing else, it marks that one as sent
// again; in any other it lets readers recognise a letter that a crash had sent twice.
const headerReplayed = "linkspan.replayed"

// newLetter reads a record of the dead letter topic.
func newLetter(m *linkspan.Message) Letter {
	text := func(name string) string { return string(m.Record.Header(name)) }
	l := Letter{
		Partition: m.Record.Partition, Offset: m.Record.Offset, Time: m.Record.Timestamp, Reason: text(headerReason), Route: text(headerRoute),
		Endpoint: text(headerEndpoint), Topic: text(headerTopic), Down: m.Record.Header(headerOffset) != nil, Attempts: text(headerAttempts),
		Size: len(m.Payload),
	}
	if t, err := time.Parse(time.RFC3339, text(headerTime)); err == nil {
		l.Time = t
	}
	if n, err := strconv.Atoi(text(headerSize)); err == nil {
		l.Size, l.Cut = n, true
	}
	return l
}

// isMark reports whether a record of the dead letter topic says that another was sent again, and which.
func isMark(m *linkspan.Message) (at Place, ok bool) {
	value := m.Record.Header(headerReplayed)
	if value == nil || m.Record.Header(headerReason) != nil {
		return at, false
	}
	at, err := ParsePlace(string(value))
	return at, err == nil
}

// Letters says which dead letters are meant. What is left empty does not narrow it.
type Letters struct {
	Patience time.Duration // how long to try to reach Kafka
	Since    time.Time
	Reason   string // a part of the words, in any case, or what metrics call it: too_large
	Route    string
	Endpoint string
	One      bool  // only that at Partition and Offset
	Place    Place // of that one
}

// A Place is where in a topic a record is.
type Place struct {
	Partition int32
	Offset    int64
}

// String returns PARTITION:OFFSET.
func (p Place) String() string { return fmt.Sprintf("%d:%d", p.Partition, p.Offset) }

// ParsePlace reads PARTITION:OFFSET.
func ParsePlace(text string) (Place, error) {
	p, o, ok := strings.Cut(text, ":")
	partition, err := strconv.ParseInt(p, 10, 32)
	offset, err2 := strconv.ParseInt(o, 10, 64)
	if !ok || err != nil || err2 != nil || partition < 0 || offset < 0 {
		return Place{}, fmt.Errorf("%q is no PARTITION:OFFSET, as in 0:17", text)
	}
	return Place{int32(partition), offset}, nil
}

func (q *Letters) takes(l *Letter) bool {
	return (!q.One || q.Place == l.At()) && (q.Route == "" || q.Route == l.Route) && (q.Endpoint == "" || q.Endpoint == l.Endpoint) &&
		(q.Reason == "" || strings.Contains(strings.ToLower(l.Reason), strings.ToLower(q.Reason)) || q.Reason == reasonLabel(l.Reason))
}

// reasonLabel is what metrics call a reason that is told in words.
func reasonLabel(text string) string {
	for _, r := range deadReasons {
		if r.err == nil || strings.Contains(text, r.err.Error()) {
			return r.label
		}
	}
	return ""
}

// ListDeadLetters returns the newest letters of the configuration's dead letter topic, up to limit of them (0: all), the oldest first.
// It fails when Kafka cannot be reached within q.Patience.
func ListDeadLetters(ctx context.Context, cfg Config, q Letters, limit int, log *slog.Logger) ([]Letter, error) {
	office, err := openOffice(ctx, cfg, q, log)
	if err != nil {
		return nil, err
	}
	defer office.client.Close()
	var all []Letter
	for _, span := range office.spans {
		var part []Letter
		marked := map[Place]bool{}
		err := office.read(ctx, span, func(m *linkspan.Message) {
			if at, ok := isMark(m); ok {
				marked[at] = true
			} else if l := newLetter(m); q.takes(&l) {
				part = append(part, l)
			}
			if limit > 0 && len(part) >= 2*limit {
				part = slices.Delete(part, 0, len(part)-limit) // memory is bounded, whatever the topic holds
			}
		})
		if err != nil {
			return nil, err
		}
		for i := range part {
			part[i].Replayed = marked[part[i].At()]
		}
		all = append(all, part...)
	}
	slices.SortStableFunc(all, func(a, b Letter) int { return a.Time.Compare(b.Time) })
	if limit > 0 {
		all = all[max(0, len(all)-limit):]
	}
	return all, nil
}

// An office is where dead letters are: the topic, as it was when it was opened.
type office struct {
	client *kafka.Client
	topic  string
	spans  []kafka.Span
}

// openOffice reaches Kafka.
func openOffice(ctx context.Context, cfg Config, q Letters, log *slog.Logger) (_ *office, err error) {
	embedded := len(cfg.Kafka.Brokers) == 0
	if embedded {
		cfg.Kafka.Brokers = []string{cfg.Kafka.Embedded.Listen} // of the process that runs
	}
	client, err := kafka.New(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			client.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, q.Patience)
	defer cancel()
	if err = client.Ping(ctx); err != nil {
		if embedded {
			err = fmt.Errorf("%w; the configuration names no kafka.brokers, and the embedded one is there while linkspan run is", err)
		}
		return nil, err
	}
	o := &office{client: client, topic: cfg.DeadLetter.Topic}
	if o.spans, err = client.Spans(ctx, o.topic, q.Since); err != nil {
		if errors.Is(err, kafka.ErrUnknownTopic) {
			err = fmt.Errorf("there is no dead letter topic %s (dead_letter.topic): nothing was ever put there, or another configuration was", o.topic)
		}
		return nil, err
	}
	if q.One {
		i := slices.IndexFunc(o.spans, func(s kafka.Span) bool { return s.Partition == q.Place.Partition })
		if i < 0 || q.Place.Offset < o.spans[i].Start || q.Place.Offset >= o.spans[i].End {
			return nil, fmt.Errorf("the dead letter topic %s has nothing at %v", o.topic, q.Place)
		}
		o.spans = []kafka.Span{{Partition: q.Place.Partition, Start: q.Place.Offset, End: o.spans[i].End}} // marks are behind
	}
	return o, nil
}

// readBytes is about how much is read of the dead letter topic at a time.
const readBytes = 1 << 20

// read visits the records of a span in order. Those that retention takes away meanwhile are passed over.
func (o *office) read(ctx context.Context, span kafka.Span, visit func(m *linkspan.Message)) error {
	for next := span.Start; next < span.End; {
		from := next
		var err error
		next, err = o.client.ReadAt(ctx, o.topic, span.Partition, from, readBytes, func(m *linkspan.Message) {
			if m.Record.Offset < span.End {
				visit(m)
			}
		})
		var gone *kafka.OffsetError
		switch {
		case errors.As(err, &gone) && gone.Earliest > from:
			next = gone.Earliest
		case err != nil:
			return err
		case next == from:
			return nil // transactions that are still open
		}
	}
	return nil
}
