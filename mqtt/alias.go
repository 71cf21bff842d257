package mqtt

import (
	"strings"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// aliases are the topics that a device has given numbers [MQTT-3.3.2.3.4]; index 0 is alias 1. The reader's alone.
type aliases []string

// resolve returns the topic that p is for, and learns it if p gives it a number. limit is the highest alias allowed.
func (a *aliases) resolve(p *packet.Publish, limit uint16) (string, error) {
	n := p.Properties.TopicAlias
	if n == 0 || n > limit { // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
		return "", &ending{reason: packet.TopicAliasInvalid, text: "topic alias above Topic Alias Maximum, or 0"}
	}
	if p.Topic == "" {
		if int(n) > len(*a) || (*a)[n-1] == "" {
			return "", &ending{reason: packet.ProtocolError, text: "topic alias that was not given a topic"}
		}
		return (*a)[n-1], nil
	}
	for int(n) > len(*a) {
		*a = append(*a, "")
	}
	if (*a)[n-1] != p.Topic {
		(*a)[n-1] = strings.Clone(p.Topic)
	}
	return (*a)[n-1], nil
}

// alias replaces the topic of p by a number that the device knows. A topic that it does not know yet gets the
// next number, as long as there is one, and is sent along. It returns whether the number is new: learned has to be
// called when p is really sent. The caller has the lock.
func (c *conn) alias(p *packet.Publish) (fresh bool) {
	if c.aliasMaximum == 0 {
		return false
	}
	n, known := c.taught[p.Topic]
	switch {
	case known:
		p.Topic = ""
	case len(c.taught) < int(c.aliasMaximum):
		n, fresh = uint16(len(c.taught)+1), true
	default:
		return false
	}
	p.Properties.TopicAlias = n // [MQTT-3.3.2-10]
	p.Properties.Set(packet.TopicAlias)
	return fresh
}

func (c *conn) learned(p *packet.Publish) {
	if c.taught == nil {
		c.taught = map[string]uint16{}
	}
	c.taught[strings.Clone(p.Topic)] = p.Properties.TopicAlias
}
