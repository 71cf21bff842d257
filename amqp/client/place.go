package client

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/linkspan/linkspan/amqp/frame"
)

// A place is where a broker has messages, as an address names it.
type place struct {
	address string // for the broker
	kind    kind
}

// kind is what an address is asked to be.
type kind byte

const (
	whatever kind = iota // as the broker sees it
	queue
	topic
)

// maxAddress bounds an address in bytes, so that the frame that carries it fits.
const maxAddress = 255

// parsePlace reads an address of the configuration. queue:// and topic:// are not the broker's, but ask for a capability: ActiveMQ,
// Artemis and the clients of JMS know them by these names.
func parsePlace(text string) (place, error) {
	p := place{address: text}
	if rest, ok := strings.CutPrefix(text, "queue://"); ok {
		p = place{rest, queue}
	} else if rest, ok := strings.CutPrefix(text, "topic://"); ok {
		p = place{rest, topic}
	}
	switch {
	case p.address == "":
		return p, errors.New("an address is empty")
	case len(p.address) > maxAddress || !utf8.ValidString(p.address):
		return p, fmt.Errorf("%.40q is no address: at most %d bytes of UTF-8", p.address, maxAddress)
	}
	return p, nil
}

// capabilities returns what is asked of the terminus.
func (p *place) capabilities() []frame.Symbol {
	switch p.kind {
	case queue:
		return []frame.Symbol{"queue"}
	case topic:
		return []frame.Symbol{"topic"}
	}
	return nil
}
