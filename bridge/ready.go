package bridge

import (
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan/mqtt/client"
)

// The phases of a bridge. Only Run changes them.
const (
	starting int32 = iota
	running
	stopping
)

// ready returns nil when the bridge takes and delivers messages, else why it does not; and how each endpoint is.
func (b *bridge) ready() (endpoints []string, err error) {
	phase := b.phase.Load()
	if phase == starting {
		return nil, errors.New("starting") // the endpoints are not complete
	}
	for _, e := range b.endpoints {
		endpoints = append(endpoints, fmt.Sprintf("%s: listens on %s", e.name, e.listener.Addr()))
	}
	for _, d := range b.dialers() {
		endpoints = append(endpoints, d.name+": "+d.describe())
	}
	if phase == stopping {
		return endpoints, errors.New("stopping")
	}
	select {
	case <-b.joined:
	default:
		return endpoints, errors.New("Kafka cannot be reached yet")
	}
	if age := b.client.Producer().OldestUnacked(); age > b.cfg.Admin.StallTimeout {
		return endpoints, fmt.Errorf("Kafka has not acknowledged a message for %v", age.Round(time.Second))
	}
	if b.member != nil && !b.member.shards.Leased() {
		return endpoints, errors.New("Kafka does not tell which brokers this process has to dial")
	}
	if len(b.endpoints) == 0 {
		return endpoints, b.cutOff()
	}
	return endpoints, nil
}

// cutOff returns an error when all endpoints that this process runs are without their broker. One that runs none stands by, and is
// ready to.
func (b *bridge) cutOff() error {
	owned := false
	for _, d := range b.dialers() {
		if !d.owned.Load() {
			continue
		}
		if d.last.Load().client.Stats().Connected.Load() > 0 {
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
		if !d.b.member.shards.Leased() {
			return "waits for Kafka, which says who runs it"
		}
		return "run by another process"
	}
	return describeStatus(run.client.Status(), time.Now())
}

func describeStatus(s client.Status, now time.Time) string {
	if s.Connected {
		text := fmt.Sprintf("connected to %s with MQTT %s", s.URL, s.Version)
		for _, f := range s.RefusedFilters {
			text += "; not subscribed to " + f
		}
		return text
	}
	text := "not connected"
	if !s.Since.IsZero() {
		text += " for " + now.Sub(s.Since).Round(time.Second).String()
	}
	if s.LastError != "" {
		text += ": " + s.LastError
	}
	return text
}
