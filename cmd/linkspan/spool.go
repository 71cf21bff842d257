package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/linkspan/linkspan/bridge"
)

type spoolCommand struct {
	Status spoolStatus `cmd:"" help:"Show how the spool is, route by route."`
	Ls     spoolLs     `cmd:"" help:"List the messages in it, the oldest first."`
	Cat    spoolCat    `cmd:"" help:"Print the payload of one."`
	Export spoolExport `cmd:"" help:"Write them out as JSON, one a line."`
	Drop   spoolDrop   `cmd:"" help:"Drop messages of a route."`
}

func (spoolCommand) Help() string {
	return `The spool is where messages wait on the local disk while Kafka does not take them. All of this works beside the process that runs, and without one.

    linkspan spool status -c linkspan.yaml
    linkspan spool ls --dir /var/lib/linkspan/spool --limit 20
`
}

// spoolFlags say which spool is meant.
type spoolFlags struct {
	configFlag
	Dir string `placeholder:"DIR" help:"The spool's directory. Default: that of the configuration."`
}

type spoolStatus struct {
	spoolFlags
	JSON bool `name:"json" help:"One JSON object."`
}

func (spoolStatus) Help() string {
	return `It asks the process that runs, at the admin port of the configuration; where that does not answer for this spool, it reads the files alone, and says so. Rates, times left and what was dropped only the process knows.

    linkspan spool status -c linkspan.yaml
    linkspan spool status --dir /var/lib/linkspan/spool
    linkspan spool status -c linkspan.yaml --json | jq '.lanes[] | {name, messages}'
`
}

func (c spoolStatus) Run(p *program) error {
	cfg, _, err := c.load(p)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	s, err := bridge.ReadSpoolStatus(ctx, cfg, c.Dir)
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(p.stdout)
		out.SetIndent("", "  ")
		return out.Encode(s)
	}
	fmt.Fprintf(p.stdout, "spool %s\nas told by %s\n", s.Dir, s.Source)
	if s.Live {
		fmt.Fprintf(p.stdout, "state %s%s\n", s.Verdict, after(": ", s.Reason))
	}
	fmt.Fprintln(p.stdout, diskText(s.Disk))
	for _, d := range s.Disk.Damaged {
		fmt.Fprintf(p.stdout, "damaged %s\n", d)
	}
	if len(s.Lanes) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	if s.Live {
		fmt.Fprintln(w, "\nROUTE\tACK\tWAY\tMESSAGES\tSIZE\tOLDEST\tIN/S\tOUT/S\tTIME LEFT\tNOT KEPT")
	} else {
		fmt.Fprintln(w, "\nROUTE\tMESSAGES\tSIZE\tOLDEST")
	}
	for _, l := range s.Lanes {
		name := l.Name
		if l.Gone {
			name += " (no such route any more)"
		}
		if !s.Live {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", name, l.Messages, bridge.SizeText(l.Bytes), seconds(l.Oldest))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%.0f\t%.0f\t%s\t%d\n", name, l.Ack, l.Way, l.Messages, bridge.SizeText(l.Bytes), seconds(l.Oldest), l.In, l.Out, seconds(l.ETA), l.Counters.Gone())
	}
	return w.Flush()
}

// after puts text behind what leads to it, and nothing where there is none.
func after(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

// seconds tells a time that has passed, or is left; - for none.
func seconds(s float64) string {
	if s <= 0 {
		return "-"
	}
	d := time.Duration(s * float64(time.Second))
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// diskText tells in a line how the files are.
func diskText(d bridge.SpoolDisk) string {
	text := fmt.Sprintf("disk %s in %s", bridge.SizeText(d.Bytes), counted(d.Segments, "file"))
	if d.MaxBytes > 0 {
		text += " of at most " + bridge.SizeText(d.MaxBytes)
	}
	if d.Free > 0 {
		text += ", " + bridge.SizeText(d.Free) + " free"
	}
	if d.Pending > 0 {
		text += ", " + bridge.SizeText(d.Pending) + " to be written"
	}
	if d.Full != "" {
		text += ", FULL: spool." + d.Full + " is reached"
	}
	if d.Failing != "" {
		text += ", FAILING: " + d.Failing
		if d.Since != nil {
			text += " (since " + clock(*d.Since) + ")"
		}
	}
	return text
}

// spoolEntries are the flags of the commands that go through the messages.
type spoolEntries struct {
	spoolFlags
	Route string `placeholder:"NAME" help:"Only those of that route; dead_letter! for dead letters."`
	Since moment `placeholder:"TIME" help:"Only those written since then: 2h (ago), 3d, 2026-11-22T10:00:00Z, \"2026-11-22 10:00\"."`
}

// open opens the spool that is meant.
func (c *spoolFlags) open(p *program) (*bridge.SpoolView, error) {
	cfg, _, err := c.load(p)
	if err != nil {
		return nil, err
	}
	return bridge.ViewSpool(cfg, c.Dir)
}

type spoolLs struct {
	spoolEntries
	Limit int `default:"100" placeholder:"N" help:"The first N; 0: all. Default 100."`
}

func (spoolLs) Help() string {
	return `SEQ is the number that cat and drop want. What is delivered meanwhile goes from the list.

    linkspan spool ls -c linkspan.yaml --limit 20
    linkspan spool ls -c linkspan.yaml --route sensors --since 10m
`
}

func (c spoolLs) Run(p *program) error {
	view, err := c.open(p)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	n := 0
	err = view.Visit(bridge.SpoolEntries{Route: c.Route, Since: c.Since.Time, Limit: c.Limit}, func(e bridge.SpoolEntry) bool {
		if n == 0 {
			fmt.Fprintln(w, "SEQ\tWRITTEN\tROUTE\tTOPIC\tKAFKA TOPIC\tKEY\tSIZE")
		}
		m := e.Message
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%d\n", e.Seq, clock(e.Time), e.Lane, dash(m.Topic), m.Record.Topic, readable(m.Record.Key), len(m.Payload))
		n++
		if n%flushEvery == 0 {
			_ = w.Flush()
		}
		return true
	})
	_ = w.Flush()
	if err == nil && n == 0 {
		fmt.Fprintln(p.stderr, "no messages")
	}
	if all, _ := view.Size(bridge.SpoolEntries{Route: c.Route}); err == nil && n == c.Limit && uint64(n) < all {
		fmt.Fprintf(p.stderr, "%d of %s; --limit 0 for all\n", n, counted(int(all), "message"))
	}
	return err
}

// flushEvery is after how many lines a table is printed, and its columns begin anew.
const flushEvery = 1000

// readable shows bytes in a column: as they are if they can be read, else as a Go string.
func readable(b []byte) string {
	if b == nil {
		return "-"
	}
	if q := strconv.Quote(string(b)); q[1:len(q)-1] != string(b) || len(b) == 0 {
		return q
	}
	return string(b)
}

type spoolCat struct {
	spoolFlags
	Seq     uint64 `arg:"" help:"The number of the message, as ls shows it."`
	Headers bool   `help:"Show the record: where it goes, key, headers, and then the payload."`
}

func (spoolCat) Help() string {
	return `The payload goes to standard output as it is.

    linkspan spool cat -c linkspan.yaml 4711
    linkspan spool cat -c linkspan.yaml 4711 --headers
`
}

func (c spoolCat) Run(p *program) error {
	view, err := c.open(p)
	if err != nil {
		return err
	}
	return view.Find(c.Seq, func(e bridge.SpoolEntry) {
		m := e.Message
		if c.Headers {
			line := func(name, value string) { fmt.Fprintf(p.stdout, "%-12s %s\n", name, value) }
			line("seq", strconv.FormatUint(e.Seq, 10))
			line("written", clock(e.Time))
			line("route", e.Lane)
			line("topic", dash(m.Topic))
			line("kafka topic", m.Record.Topic)
			if m.Record.Partition >= 0 {
				line("partition", strconv.Itoa(int(m.Record.Partition)))
			}
			if !m.Record.Timestamp.IsZero() {
				line("timestamp", m.Record.Timestamp.UTC().Format(time.RFC3339Nano))
			}
			line("key", readable(m.Record.Key))
			for _, h := range m.Record.Headers {
				line("header", shown(h.Key)+": "+readable(h.Value))
			}
			if m.Record.Tombstone {
				line("value", "none: it deletes its key")
			}
			fmt.Fprintln(p.stdout)
		}
		_, _ = p.stdout.Write(m.Payload)
	})
}

type spoolExport struct {
	spoolEntries
	Output string `short:"o" placeholder:"FILE" help:"Write there; it must not exist. Default: standard output."`
}

func (spoolExport) Help() string {
	return `Each line is all that is known of one message: where it goes, its key, headers, time and payload; text as text, other bytes as base64 under the same name with _base64. The messages stay in the spool: to have them elsewhere and not here, drop them after.

    linkspan spool export -c linkspan.yaml -o backlog.jsonl
    linkspan spool export -c linkspan.yaml --route sensors | jq -r 'select(.payload) | [.kafka_topic, .key, .payload] | @tsv'
`
}

func (c spoolExport) Run(p *program) (err error) {
	view, err := c.open(p)
	if err != nil {
		return err
	}
	to := p.stdout
	if c.Output != "" {
		f, opened := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(opened, os.ErrExist) {
			return wrong{fmt.Errorf("%s exists; choose another name", c.Output)}
		}
		if opened != nil {
			return opened
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		to = f
	}
	out := bufio.NewWriterSize(to, 1<<20)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	q := bridge.SpoolEntries{Route: c.Route, Since: c.Since.Time}
	all, _ := view.Size(q)
	ctx, stop := untilSignal()
	defer stop()
	n, told := 0, time.Now()
	var failed error
	err = view.Visit(q, func(e bridge.SpoolEntry) bool {
		if failed = errors.Join(lines.Encode(e.Export()), ctx.Err()); failed != nil {
			return false
		}
		if n++; time.Since(told) > progressEvery {
			told = time.Now()
			fmt.Fprintf(p.stderr, "%d of about %d messages\n", n, all)
		}
		return true
	})
	if err = errors.Join(err, failed, out.Flush()); err == nil {
		fmt.Fprintf(p.stderr, "%s written\n", counted(n, "message"))
	}
	return err
}

// progressEvery is how often work that takes long says how far it is.
const progressEvery = 2 * time.Second

type spoolDrop struct {
	spoolFlags
	Route  string `required:"" placeholder:"NAME" help:"Those of that route; dead_letter! for dead letters."`
	All    bool   `help:"All that are there."`
	Before moment `placeholder:"TIME" help:"Those written before then: 2h (ago), 3d, 2026-11-22T10:00:00Z, \"2026-11-22 10:00\"."`
	UpTo   uint64 `placeholder:"SEQ" help:"Those up to that number, it included."`
	Yes    bool   `short:"y" help:"Do not ask."`
}

func (spoolDrop) Help() string {
	return `They have been acknowledged to their senders: what is dropped is lost, unless Kafka had been handed it before. Export it first. It is always the oldest that go, since a route keeps its order. Beside the process that runs it is done by that, within seconds.

    linkspan spool export -c linkspan.yaml --route sensors -o sensors.jsonl
    linkspan spool drop -c linkspan.yaml --route sensors --before 2d
    linkspan spool drop -c linkspan.yaml --route sensors --up-to 4711 --yes
`
}

func (c spoolDrop) Run(p *program) error {
	ways := 0
	for _, said := range []bool{c.All, !c.Before.IsZero(), c.UpTo > 0} {
		if said {
			ways++
		}
	}
	if ways != 1 {
		return wrong{errors.New("say which: --all, --before TIME or --up-to SEQ, one of them")}
	}
	view, err := c.open(p)
	if err != nil {
		return err
	}
	d := bridge.SpoolDrop{Route: c.Route, All: c.All, Before: c.Before.Time, UpTo: c.UpTo}
	messages, size, err := view.Preview(d)
	if err != nil {
		return err
	}
	if messages == 0 {
		fmt.Fprintln(p.stdout, "0 messages dropped: there are none of these")
		return nil
	}
	question := fmt.Sprintf("Drop %s (%s) of route %s, which have been acknowledged and will be lost?", counted(int(messages), "message"), bridge.SizeText(size), c.Route)
	if err := p.confirm(c.Yes, question); err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	messages, size, err = view.Drop(ctx, d)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s (%s) dropped\n", counted(int(messages), "message"), bridge.SizeText(size))
	return nil
}
