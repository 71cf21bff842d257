package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool"
	"github.com/linkspan/linkspan/spool/journal"
)

// spoolDir returns the directory of the spool that is meant: dir, or else that of cfg.
func spoolDir(cfg Config, dir string) (string, error) {
	if dir == "" && cfg.spooled() {
		dir = cfg.Spool.Dir
	}
	if dir == "" {
		return "", errors.New("the configuration has no spool: spool.dir is off, or nothing asks for one, as with the embedded Kafka; name a directory with --dir")
	}
	return filepath.Abs(dir)
}

// sameDir reports whether two names lead to one directory.
func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// spoolError says what to do about a directory that cannot be read.
func spoolError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no spool in %s: linkspan run makes one, and nothing ran with this configuration by this user yet; name the configuration with -c, or the directory with --dir", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; ask as the user that linkspan runs as", err)
	}
	return err
}

// SpoolEntries says which messages in a spool are meant. What is left empty does not narrow it.
type SpoolEntries struct {
	Route string
	Since time.Time // written since then
	Limit int       // the first so many
}

// A SpoolEntry is one message in a spool. Its message is borrowed until the visit of it ends.
type SpoolEntry struct {
	Seq     uint64    // its number in the spool
	Time    time.Time // when it was written there
	Lane    string    // its route, or dead_letter!
	Message *linkspan.Message
}

// A SpoolView is what is in a spool, for looking at: it changes nothing, and may be beside the process that runs.
type SpoolView struct {
	Dir  string
	view *journal.View
}

// ViewSpool looks into the spool of cfg, or that in dir if it is not "".
func ViewSpool(cfg Config, dir string) (*SpoolView, error) {
	dir, err := spoolDir(cfg, dir)
	if err != nil {
		return nil, err
	}
	view, err := journal.Inspect(dir)
	if err != nil {
		return nil, spoolError(dir, err)
	}
	return &SpoolView{dir, view}, nil
}

// lane returns the number of a lane by its name.
func (v *SpoolView) lane(name string) (journal.Lane, error) {
	var known []string
	for _, l := range v.view.Lanes {
		if l.Name == name {
			return l.Lane, nil
		}
		known = append(known, l.Name)
	}
	if known == nil {
		return 0, fmt.Errorf("nothing was ever in the spool in %s", v.Dir)
	}
	return 0, fmt.Errorf("nothing of a route %q was ever in the spool in %s; there are %s", name, v.Dir, strings.Join(known, ", "))
}

// Size returns how many messages there are in the spool, of the routes that are meant.
func (v *SpoolView) Size(q SpoolEntries) (messages uint64, bytes int64) {
	for _, l := range v.view.Lanes {
		if q.Route == "" || q.Route == l.Name {
			messages += l.Backlog.Messages
			bytes += l.Backlog.Bytes
		}
	}
	return messages, bytes
}

// Visit calls visit for the messages that are meant, in the order in which they were written, until it returns false.
func (v *SpoolView) Visit(q SpoolEntries, visit func(e SpoolEntry) bool) error {
	only := journal.Lane(0)
	if q.Route != "" {
		var err error
		if only, err = v.lane(q.Route); err != nil {
			return err
		}
	}
	wanted := func(l journal.Lane) bool { return only == 0 || l == only }
	n := 0
	return v.each(v.since(q.Since, wanted), wanted, func(e SpoolEntry) bool {
		if e.Time.Before(q.Since) {
			return true // between those of another route that are not
		}
		n++
		return visit(e) && n != q.Limit
	})
}

// since returns the number behind which everything that was written since a time is.
func (v *SpoolView) since(t time.Time, wanted func(journal.Lane) bool) (after uint64) {
	if t.IsZero() {
		return 0
	}
	first := true
	for _, l := range v.view.Lanes {
		if !wanted(l.Lane) || l.Backlog.Messages == 0 {
			continue
		}
		before := v.view.Before(l.Lane, t)
		if before == 0 {
			before = l.Backlog.First - 1
		}
		if first || before < after {
			after, first = before, false
		}
	}
	return after
}

// each decodes the messages behind a number.
func (v *SpoolView) each(after uint64, wanted func(journal.Lane) bool, visit func(e SpoolEntry) bool) error {
	names := map[journal.Lane]string{}
	for _, l := range v.view.Lanes {
		names[l.Lane] = l.Name
	}
	var m linkspan.Message
	var failed error
	err := v.view.EachAfter(after, wanted, func(e journal.Entry) bool {
		if failed = spool.Decode(names[e.Lane], e, &m); failed != nil {
			failed = fmt.Errorf("message %d: %w", e.Seq, failed)
			return false
		}
		return visit(SpoolEntry{e.Seq, e.Time, names[e.Lane], &m})
	})
	return errors.Join(err, failed)
}

// Find calls found with the message of that number.
func (v *SpoolView) Find(seq uint64, found func(e SpoolEntry)) error {
	hit := false
	err := v.each(max(seq, 1)-1, func(journal.Lane) bool { return true }, func(e SpoolEntry) bool {
		if hit = e.Seq == seq; hit {
			found(e)
		}
		return false
	})
	if err != nil || hit {
		return err
	}
	first, last := uint64(0), uint64(0)
	for _, l := range v.view.Lanes {
		if b := l.Backlog; b.Messages > 0 {
			last = max(last, b.Last)
			if first == 0 || b.First < first {
				first = b.First
			}
		}
	}
	if last == 0 {
		return fmt.Errorf("there is no message %d: the spool in %s is empty", seq, v.Dir)
	}
	return fmt.Errorf("there is no message %d in the spool in %s: it has some of %d to %d, and what was delivered is gone", seq, v.Dir, first, last)
}

// A SpoolDrop says which messages of a route are to go.
type SpoolDrop struct {
	Route  string
	All    bool
	UpTo   uint64    // those up to that number, 0: not said
	Before time.Time // those written before, zero: not said
}

func (d SpoolDrop) request() journal.Drop {
	return journal.Drop{Lane: d.Route, All: d.All, UpTo: d.UpTo, Before: d.Before}
}

// Preview counts what a drop would take.
func (v *SpoolView) Preview(d SpoolDrop) (messages uint64, bytes int64, err error) {
	if _, err := v.lane(d.Route); err != nil {
		return 0, 0, err
	}
	would, err := v.view.Preview(d.request())
	return would.Messages, would.Bytes, err
}

// dropPatience is how long a process that runs may take to answer: it looks each second, if its disk lets it.
const dropPatience = time.Minute

// Drop drops messages, by the process that has the spool open if there is one. It returns how many went; some of those counted
// before may have been delivered meanwhile.
func (v *SpoolView) Drop(ctx context.Context, d SpoolDrop) (messages uint64, bytes int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	gone, err := journal.Request(ctx, v.Dir, d.request())
	if err != nil {
		return 0, 0, fmt.Errorf("drop from the spool in %s: %w", v.Dir, spoolError(v.Dir, err))
	}
	return gone.Messages, gone.Bytes, nil
}

// Export returns all that is known of a message in a form for JSON, so that another program can send it on: text as text, other
// bytes under the same name with _base64 behind it.
func (e SpoolEntry) Export() any {
	m := e.Message
	out := exported{
		Seq: e.Seq, Time: e.Time.UTC(), Route: e.Lane, Endpoint: m.Endpoint, Topic: m.Topic, KafkaTopic: m.Record.Topic, Tombstone: m.Record.Tombstone,
	}
	if !m.Record.Timestamp.IsZero() {
		t := m.Record.Timestamp.UTC()
		out.Timestamp = &t
	}
	if m.Record.Partition != linkspan.AnyPartition {
		out.Partition = &m.Record.Partition
	}
	if m.Record.Key != nil {
		out.Key, out.KeyBase64 = either(m.Record.Key)
	}
	for _, h := range m.Record.Headers {
		x := exportedHeader{Name: h.Key}
		x.Value, x.ValueBase64 = either(h.Value)
		out.Headers = append(out.Headers, x)
	}
	if !m.Record.Tombstone {
		out.Payload, out.PayloadBase64 = either(m.Payload)
	}
	return &out
}

type exported struct {
	Seq           uint64           `json:"seq"`
	Time          time.Time        `json:"time"`
	Route         string           `json:"route"`
	Endpoint      string           `json:"endpoint,omitempty"`
	Topic         string           `json:"mqtt_topic,omitempty"`
	KafkaTopic    string           `json:"kafka_topic"`
	Partition     *int32           `json:"partition,omitempty"`
	Timestamp     *time.Time       `json:"timestamp,omitempty"`
	Key           *string          `json:"key,omitempty"`
	KeyBase64     *string          `json:"key_base64,omitempty"`
	Headers       []exportedHeader `json:"headers,omitempty"`
	Tombstone     bool             `json:"tombstone,omitempty"`
	Payload       *string          `json:"payload,omitempty"`
	PayloadBase64 *string          `json:"payload_base64,omitempty"`
}

type exportedHeader struct {
	Name        string  `json:"name"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
}

// either returns b as text if it is some, else in base64.
func either(b []byte) (text, encoded *string) {
	s := string(b)
	if utf8.ValidString(s) {
		return &s, nil
	}
	s = base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

// SizeText tells a number of bytes as people do.
func SizeText(n int64) string { return bytesText(n) }
