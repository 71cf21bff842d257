package bridge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/linkspan/linkspan/admin"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/spool"
)

// The phases of a bridge. Only Run changes them.
const (
	starting int32 = iota
	running
	stopping
)

// health is what the bridge does, and what it does not.
func (b *bridge) health() admin.Health {
	phase := b.phase.Load()
	if phase == starting {
		return admin.Health{NotReady: errors.New("starting")} // the endpoints are not complete
	}
	var h admin.Health
	for _, e := range b.endpoints {
		h.Parts = append(h.Parts, fmt.Sprintf("%s: listens on %s", e.name, e.Addr()))
	}
	for _, d := range b.dialers() {
		h.Parts = append(h.Parts, d.name+": "+d.describe())
	}
	if phase == stopping {
		h.NotReady = errors.New("stopping")
		return h
	}
	s := b.spool.Status()
	h.Parts = append(h.Parts, describeSpool(&s)...)
	lacks, err := b.lacks(&s)
	h.NotReady, h.Degraded = err, strings.Join(lacks, "; ")
	return h
}

// lacks returns what the bridge does without, and an error if that keeps it from its work. While the spool takes what comes, an
// outage of Kafka does not; but while anything is held back, refused or dropped, the bridge is not ready.
func (b *bridge) lacks(s *spool.Status) (lacks []string, err error) {
	taking := b.cfg.spooled() && (len(b.endpoints) > 0 || b.linked())
	lack := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if lacks = append(lacks, text); !taking && err == nil {
			err = errors.New(text)
		}
	}
	if !b.isJoined() {
		lack("Kafka cannot be reached yet")
	} else if b.member != nil && !b.member.leased() {
		lack("Kafka does not tell which brokers this process has to dial")
	}
	age, route := b.stalled(s)
	switch {
	case err != nil:
	case age > 0:
		err = fmt.Errorf("Kafka has not acknowledged a message for %v%s", age.Round(time.Second), route)
	case s.Verdict == spool.NotReady:
		err = errors.New(s.Reason)
	case len(b.endpoints) == 0:
		err = b.cutOff()
	}
	if s.Verdict == spool.Degraded {
		lacks = append(lacks, buffering(s))
	}
	return lacks, err
}

// depth is how many messages are in the spool.
func depth(s *spool.Status) (n int64) {
	for i := range s.Lanes {
		n += s.Lanes[i].Messages
	}
	return n
}

// buffering tells how much is in a spool that is not as it should be, and what its disk lacks.
func buffering(s *spool.Status) string {
	var bytes int64
	var oldest, eta time.Duration
	for i := range s.Lanes {
		l := &s.Lanes[i]
		bytes, oldest = bytes+l.Bytes, max(oldest, l.Oldest)
		if l.Messages > 0 && (l.ETA == 0 || eta < 0) {
			eta = -1 // not to be seen
		} else {
			eta = max(eta, l.ETA)
		}
	}
	messages := depth(s)
	if messages == 0 {
		return s.Reason
	}
	text := fmt.Sprintf("buffering %d messages (%s), the oldest for %v", messages, bytesText(bytes), oldest.Round(time.Second))
	if eta > 0 {
		text += fmt.Sprintf(", all delivered in %v", eta.Round(time.Second))
	}
	switch d := &s.Disk; {
	case d.Failing != nil:
		text += "; " + d.Failing.Error()
	case d.Full != "":
		text += "; the spool has reached its " + d.Full
	}
	return text
}

// stalled returns how long Kafka has left a message unacknowledged that only Kafka can take, if that is too long: 0 if not; and words
// for its route, where that is known. What the spool has taken over waits for Kafka too, but nobody waits for it.
func (b *bridge) stalled(s *spool.Status) (age time.Duration, of string) {
	if !b.cfg.spooled() {
		age = b.client.Producer().OldestUnacked()
	}
	for i := range s.Lanes {
		if l := &s.Lanes[i]; l.Unacked > age {
			age, of = l.Unacked, ", of route "+l.Name
		}
	}
	if age <= b.cfg.Admin.StallTimeout {
		return 0, ""
	}
	return age, of
}

// linked reports whether any endpoint that this process dials is connected.
func (b *bridge) linked() bool {
	for _, d := range b.dialers() {
		if d.owned.Load() && d.last.Load().broker.connected() {
			return true
		}
	}
	return false
}

// describeSpool tells of the disk, where it is not well, and of each lane that is not on its direct way, or has left something in the
// spool that Kafka has been handed and not acknowledged.
func describeSpool(s *spool.Status) (lines []string) {
	if d := &s.Disk; d.Failing != nil {
		lines = append(lines, fmt.Sprintf("spool: the disk fails since %s: %v", d.Since.UTC().Format(time.RFC3339), d.Failing))
	}
	for i := range s.Lanes {
		if l := &s.Lanes[i]; l.Way != spool.Direct || l.Messages > 0 {
			lines = append(lines, "route "+l.Name+": "+describeLane(l))
		}
	}
	return lines
}

func describeLane(l *spool.LaneStatus) string {
	text := l.Way.String()
	if l.Messages > 0 {
		text += fmt.Sprintf(", %d messages (%s) in the spool, the oldest for %v", l.Messages, bytesText(l.Bytes), l.Oldest.Round(time.Second))
	}
	if l.ETA > 0 {
		text += fmt.Sprintf(", empty in %v", l.ETA.Round(time.Second))
	}
	if c := &l.Counters; l.Way == spool.Dropping {
		text += fmt.Sprintf("; dropped %d of the oldest, %d of the newest, refused %d", c.Oldest, c.Newest, c.Refused)
	}
	return text
}

// bytesText tells a number of bytes as people do.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, u := float64(n)/1024, 0
	for ; v >= 1024 && u < len(units)-1; u++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}

// cutOff returns an error when all endpoints that this process runs are without their broker. One that runs none stands by, and is
// ready to.
func (b *bridge) cutOff() error {
	owned := false
	for _, d := range b.dialers() {
		if !d.owned.Load() {
			continue
		}
		if d.last.Load().broker.connected() {
			return nil
		}
		owned = true
	}
	if owned {
		return errors.New("no broker is connected of those that this process dials")
	}
	return nil
}

// describe tells how the endpoint is.
func (d *dialer) describe() string {
	run := d.last.Load()
	if run == nil || !d.owned.Load() {
		if !d.b.member.leased() {
			return "waits for Kafka, which says who runs it"
		}
		return "run by another process"
	}
	return run.broker.describe(time.Now())
}

func describeStatus(s client.Status, now time.Time) string {
	if s.Connected {
		text := fmt.Sprintf("connected to %s with MQTT %s", s.URL, s.Version)
		for _, f := range s.RefusedFilters {
			text += "; not subscribed to " + f
		}
		return text
	}
	return notConnected(s.Since, s.LastError, now)
}

// notConnected tells since when there is no connection, and why.
func notConnected(since time.Time, lastError string, now time.Time) string {
	text := "not connected"
	if !since.IsZero() {
		text += " for " + now.Sub(since).Round(time.Second).String()
	}
	if lastError != "" {
		text += ": " + lastError
	}
	return text
}
