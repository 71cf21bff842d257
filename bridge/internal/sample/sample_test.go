package sample

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

func TestMistakes(t *testing.T) {
	conn := Connection{URL: "mqtt://127.0.0.1:1", Version: "auto", KeepAlive: time.Second}
	good := Publication{Topics: []string{"a"}, Count: 1}
	for want, change := range map[string]func(c *Connection, p *Publication){
		"topic: name one":         func(_ *Connection, p *Publication) { p.Topics = nil },
		`topic "a/+"`:             func(_ *Connection, p *Publication) { p.Topics = []string{"a/+"} },
		"must not be negative":    func(_ *Connection, p *Publication) { p.Count = -1 },
		"there is no QoS 3":       func(_ *Connection, p *Publication) { p.QoS = 3 },
		"dial: ":                  func(c *Connection, _ *Publication) { c.URL = "http://x" },
		"keep_alive: ":            func(c *Connection, _ *Publication) { c.KeepAlive = 0 },
		"tls: no address of dial": func(c *Connection, _ *Publication) { c.TLS.CA = "x" },
	} {
		c, p := conn, good
		change(&c, &p)
		if _, err := Publish(t.Context(), c, p, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for want, topics := range map[string][]string{"topic: name one": nil, `topic "a/#/b"`: {"a/#/b"}} {
		if _, err := Subscribe(t.Context(), conn, Subscription{Topics: topics}, &strings.Builder{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// The payload is a template with a counter; other braces are text (CON-A11).
func TestPayload(t *testing.T) {
	p := publisher{Publication: Publication{Payload: `{"seq": {n}, "of": "{topic}", "by": "{client}", "x": {}}`}, id: "me"}
	if got, want := p.text(7, "a/b"), `{"seq": 7, "of": "a/b", "by": "me", "x": {}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.Payload = "{time}"
	if _, err := time.Parse(time.RFC3339Nano, p.text(1, "")); err != nil {
		t.Error(err)
	}
}

// broken is an output that takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed pipe") }

// A message that was not printed is not acknowledged.
func TestPrinter(t *testing.T) {
	var out strings.Builder
	p := printer{Subscription: Subscription{Count: 2, Format: "{n} {topic} {qos} {retain} {payload}"}, out: &out, ended: make(chan struct{})}
	var got []error
	for range 3 {
		p.Send(context.Background(), &linkspan.Message{Topic: "a", Payload: []byte("{n}"), QoS: 1, Retain: true}, func(err error) { got = append(got, err) })
	}
	if out.String() != "1 a 1 true {n}\n2 a 1 true {n}\n" || got[0] != nil || got[1] != nil || !errors.Is(got[2], linkspan.ErrClosed) {
		t.Errorf("%q, %v", out.String(), got)
	}
	<-p.ended
	p = printer{out: broken{}, ended: make(chan struct{})}
	p.Send(context.Background(), &linkspan.Message{}, func(err error) { got = append(got, err) })
	<-p.ended
	if got[3] == nil || p.err == nil {
		t.Error(got)
	}
}
