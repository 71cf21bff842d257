package bridge

import (
	"errors"
	"fmt"
	"time"
)

// The phases of a bridge. Only Run changes them.
const (
	starting int32 = iota
	running
	stopping
)

// ready returns nil when the bridge takes and delivers messages, else why it does not.
func (b *bridge) ready() error {
	switch b.phase.Load() {
	case starting:
		return errors.New("starting")
	case stopping:
		return errors.New("stopping")
	}
	select {
	case <-b.joined:
	default:
		return errors.New("Kafka cannot be reached yet")
	}
	if age := b.client.Producer().OldestUnacked(); age > b.cfg.Admin.StallTimeout {
		return fmt.Errorf("Kafka has not acknowledged a message for %v", age.Round(time.Second))
	}
	return nil
}
