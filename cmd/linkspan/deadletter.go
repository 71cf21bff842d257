package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/linkspan/linkspan/bridge"
)

type letterCommand struct {
	Ls     letterLs     `cmd:"" help:"List dead letters, the newest last."`
	Replay letterReplay `cmd:"" help:"Send dead letters again to where they were for."`
}

func (letterCommand) Help() string {
	return `A dead letter is a message that nobody took and whose sender could not be told: Kafka refused it for good after it had been acknowledged, no route takes what a broker gave us, no broker takes a record. It is in the topic dead_letter.topic, whole, with the reason.

    linkspan deadletter ls -c linkspan.yaml
    linkspan deadletter replay -c linkspan.yaml --reason not_authorized --dry-run
`
}

// letterFlags say which letters are meant.
type letterFlags struct {
	configFlag
	Since    moment        `placeholder:"TIME" help:"Only those since then: 2h (ago), 3d, 2026-11-22T10:00:00Z, \"2026-11-22 10:00\"."`
	Reason   string        `placeholder:"TEXT" help:"Only those whose reason contains that, or is that as metrics call it: too_large, not_authorized, no_route ..."`
	Route    string        `placeholder:"NAME" help:"Only those of that route."`
	Endpoint string        `placeholder:"NAME" help:"Only those that came from that endpoint, or were for it."`
	Timeout  time.Duration `default:"10s" help:"How long to try to reach Kafka. Default 10s."`
}

// open reads the configuration, and what letters are meant.
func (f *letterFlags) open(p *program) (bridge.Config, bridge.Letters, error) {
	cfg, _, err := f.load(p)
	return cfg, bridge.Letters{Since: f.Since.Time, Reason: f.Reason, Route: f.Route, Endpoint: f.Endpoint, Patience: f.Timeout}, err
}

type letterLs struct {
	letterFlags
	Limit int  `default:"100" placeholder:"N" help:"The newest N; 0: all. Default 100."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

func (letterLs) Help() string {
	return `It reads the dead letter topic of the configuration. PLACE is the partition and offset there. A letter that was sent again is marked.

    linkspan deadletter ls -c linkspan.yaml
    linkspan deadletter ls -c linkspan.yaml --since 2h --reason too_large
    linkspan deadletter ls -c linkspan.yaml --limit 0 --json | jq -r .topic | sort | uniq -c
`
}

func (c letterLs) Run(p *program) error {
	cfg, q, err := c.open(p)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	letters, err := bridge.ListDeadLetters(ctx, cfg, q, c.Limit, p.quiet())
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(p.stdout)
		for _, l := range letters {
			if err := out.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	if len(letters) == 0 {
		fmt.Fprintln(p.stderr, "no dead letters")
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tPLACE\tWAY\tROUTE\tENDPOINT\tTOPIC\tSIZE\tREASON")
	for _, l := range letters {
		reason := l.Reason
		if l.Replayed {
			reason = "(sent again) " + reason
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", clock(l.Time), l.At(), way(l), dash(l.Route), dash(l.Endpoint), dash(l.Topic), l.Size, shown(reason))
	}
	return w.Flush()
}

// way is the direction of a letter.
func way(l bridge.Letter) string {
	if l.Down {
		return "down"
	}
	return "up"
}

// dash is shown, and stands for nothing in a column.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return shown(text)
}

// shown returns what others have written as a terminal may have it. MQTT lets every character into topics and names of user
// properties: one that moves the cursor, or begins another line, is written as in a Go string.
func shown(text string) string {
	odd := func(r rune) bool { return !strconv.IsPrint(r) }
	if utf8.ValidString(text) && !strings.ContainsFunc(text, odd) {
		return text
	}
	return strconv.Quote(text)
}

// clock tells a time in a column: in UTC, as logs and Kafka's tools do.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

type letterReplay struct {
	letterFlags
	Partition *int32 `placeholder:"P" help:"Only the one at that partition and --offset."`
	Offset    *int64 `placeholder:"O" help:"Only the one at --partition and that offset."`
	All       bool   `help:"All that were not sent again yet."`
	DryRun    bool   `help:"Say what would be sent where, and send nothing."`
	Yes       bool   `short:"y" help:"Do not ask."`
}

func (letterReplay) Help() string {
	return `A letter that came from a device or a broker goes to the Kafka topic that the routes of the configuration give it now, with its key, headers and time. One that came down goes to the Kafka topic and partition that it came from, for the endpoint that refused it alone; with a device in its route, to where the device is now.

What cannot be sent is left, with the reason: what no route takes, what was cut for its size, what goes round in a loop. Each letter is marked when Kafka has it, and is not sent again; the header linkspan.replayed of a record names its letter. Mend the cause first: a letter that is refused again is a new one.

    linkspan deadletter replay -c linkspan.yaml --reason not_authorized --dry-run
    linkspan deadletter replay -c linkspan.yaml --endpoint plant-a --since 2h
    linkspan deadletter replay -c linkspan.yaml --partition 0 --offset 17 --yes
`
}

func (c letterReplay) Run(p *program) error {
	cfg, q, err := c.open(p)
	if err != nil {
		return err
	}
	narrowed := !c.Since.IsZero() || c.Reason != "" || c.Route != "" || c.Endpoint != ""
	switch {
	case (c.Partition == nil) != (c.Offset == nil):
		return wrong{errors.New("--partition and --offset go together")}
	case c.Partition != nil:
		q.One, q.Place = true, bridge.Place{Partition: *c.Partition, Offset: *c.Offset}
	case c.All && narrowed:
		return wrong{errors.New("--all is all of them; leave it out, or the others")}
	case !c.All && !narrowed:
		return wrong{errors.New("say which: --partition P --offset O, or --reason, --since, --route, --endpoint, or --all")}
	}
	ctx, stop := untilSignal()
	defer stop()
	declined := error(nil)
	verb := "sent"
	if c.DryRun {
		verb = "would be sent"
	}
	total, err := bridge.ReplayDeadLetters(ctx, cfg, bridge.Replay{
		Letters: q, DryRun: c.DryRun,
		Confirm: func(n, size int) bool {
			declined = p.confirm(c.Yes || c.DryRun, fmt.Sprintf("Send %s (%s) again?", counted(n, "dead letter"), bridge.SizeText(int64(size))))
			return declined == nil
		},
		Tell: func(r bridge.Replayed) {
			l, to := r.Letter, ""
			if r.To != "" {
				to = " → " + r.To
			}
			outcome := verb
			if r.Err != nil {
				outcome = "left: " + r.Err.Error()
			}
			fmt.Fprintf(p.stdout, "%s  %s  %s%s  %s\n", l.At(), way(l), dash(l.Topic), to, shown(outcome))
		},
	}, p.quiet())
	if err = errors.Join(err, declined); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%d %s, %d left, %d sent again before\n", total.Sent, verb, total.Left, total.Before)
	if total.Left > 0 {
		return fmt.Errorf("%s could not be sent", counted(total.Left, "dead letter"))
	}
	return nil
}
