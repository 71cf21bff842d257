package route

import (
	"math"
	"slices"
	"strconv"

	"github.com/linkspan/linkspan"
)

// hopsProperty is the user property that carries the hop count through a broker. One that speaks no MQTT 5 loses it.
const hopsProperty = "linkspan-hops"

// takeHops reads the hop count that a broker hands back to us, and takes it off the message.
func takeHops(m *linkspan.Message) {
	for _, p := range m.UserProperties {
		if p.Key != hopsProperty {
			continue
		}
		if n, err := strconv.ParseUint(p.Value, 10, 8); err == nil {
			m.Hops = max(m.Hops, uint8(min(n, math.MaxUint8-1)))
		}
	}
	dropHops(m)
}

// giveHops writes the hop count for the way through a broker, in place of any that a device made up.
func giveHops(m *linkspan.Message) {
	dropHops(m)
	if m.Hops == 0 {
		return
	}
	from := len(m.Scratch)
	m.Scratch = strconv.AppendUint(m.Scratch, uint64(m.Hops), 10)
	m.UserProperties = append(m.UserProperties, linkspan.Property{Key: hopsProperty, Value: borrow(m.Scratch[from:])})
}

func dropHops(m *linkspan.Message) {
	m.UserProperties = slices.DeleteFunc(m.UserProperties, func(p linkspan.Property) bool { return p.Key == hopsProperty })
}

// returns reports whether m came up from endpoint, and would do so again if it were sent there.
func (t *Table) returns(m *linkspan.Message, endpoint string) bool {
	tree := t.trees[endpoint]
	return m.Endpoint == endpoint && tree != nil && tree.find(m.Topic) != none
}
