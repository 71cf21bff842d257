package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// errDeclined: a person was asked, and did not say yes.
var errDeclined = errors.New("nothing was done")

// confirm asks whether to go on, unless yes was said already. Without a terminal nobody can be asked, and it was not meant.
func (p *program) confirm(yes bool, question string) error {
	switch {
	case yes:
		return nil
	case p.terminal == nil:
		return wrong{fmt.Errorf("%s There is no terminal to ask on: say --yes", question)}
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(p.terminal).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// untilSignal returns a context that ends when the process is told to stop.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
}

// A moment is a time as people write it.
type moment struct{ time.Time }

// UnmarshalText reads a time, or how long ago it was.
func (m *moment) UnmarshalText(text []byte) error { return m.read(string(text), time.Now()) }

func (m *moment) read(text string, now time.Time) error {
	ago := text
	if days, ok := strings.CutSuffix(text, "d"); ok { // which the library does not know
		ago = days + "h"
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		if ago != text {
			d *= 24
		}
		m.Time = now.Add(-d)
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			m.Time = t
			return nil
		}
	}
	return fmt.Errorf("%q is no time: write how long ago (90m, 2h, 3d), or 2006-01-02T15:04:05Z, or \"2006-01-02 15:04\" in local time", text)
}

// counted tells a number of things: 1 message, 2 messages.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
