package amqp

import (
	"strconv"
	"strings"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A place is what the source address of a receiver names: the records of a Kafka topic, for one of a consumer group, or the
// messages that come down to an MQTT topic or filter while the receiver is there.
type place struct {
	topic     string // of Kafka; "": live
	group     string
	partition int32  // AnyPartition: those that the group's members share
	live      string // topic or filter of MQTT
}

// What stands between topic and group, in lower case where any case will do.
const (
	groupMark     = "/group.id/"
	hubGroupMark  = "/consumergroups/"
	partitionMark = "/partitions/"
)

// plain takes off what clients of other brokers write in front of a name.
func plain(address string) string {
	for _, prefix := range []string{"queue://", "topic://"} {
		if rest, ok := strings.CutPrefix(address, prefix); ok {
			return rest
		}
	}
	return strings.TrimPrefix(address, "/")
}

// kafkaTopic returns the topic that the topic part of a receiver's address names (AKB-A1).
func kafkaTopic(part string) string { return strings.ReplaceAll(plain(part), "/", ".") }

// sourcePlace reads the address of a receiver:
//
//	t/group.id/g                            topic t, shared by the members of group g; the rest of the address is the group
//	t/ConsumerGroups/g/Partitions/n         one partition, as clients of event hubs write it
//	t/ConsumerGroups/g                      the same as the first
//	anything else that isLive says yes to   MQTT
func sourcePlace(address string, isLive func(string) bool) (place, *frame.Error) {
	p := place{partition: linkspan.AnyPartition}
	lower := asciiLower(address)
	switch at, hub := strings.Index(address, groupMark), strings.Index(lower, hubGroupMark); {
	case at >= 0:
		p.topic, p.group = kafkaTopic(address[:at]), address[at+len(groupMark):]
	case hub >= 0:
		p.topic, p.group = kafkaTopic(address[:hub]), address[hub+len(hubGroupMark):]
		if i := strings.LastIndex(lower[hub+len(hubGroupMark):], partitionMark); i >= 0 {
			n, err := strconv.ParseUint(p.group[i+len(partitionMark):], 10, 31)
			if err != nil {
				return place{}, refuse(errNoPartition, "Specified partition doesn't exist: the address ends in no number")
			}
			p.group, p.partition = p.group[:i], int32(n)
		}
	case address != "" && isLive != nil && isLive(plain(address)):
		p.live = plain(address)
		return p, nil
	default:
		return place{}, refuse(errNoGroupID, "Mandatory group.id not specified in the address: write TOPIC/group.id/GROUP")
	}
	switch {
	case p.topic == "":
		return place{}, refuse(errNoGroupID, "Empty topic in specified address")
	case p.group == "":
		return place{}, refuse(errNoGroupID, "Empty consumer group in specified address")
	case !legalTopic(p.topic):
		return place{}, refuse(frame.NotFound, "The address names no legal Kafka topic")
	}
	return p, nil
}

// asciiLower is strings.ToLower that changes no lengths.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// legalTopic reports whether Kafka can have a topic of that name.
func legalTopic(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 249 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// targetTopic returns the topic of messages that are sent to address: the address itself, which routes then map. Wildcards are
// for those who receive.
func targetTopic(address string) (string, *frame.Error) {
	topic := plain(address)
	switch {
	case topic == "":
		return "", refuse(frame.InvalidField, "The address is empty")
	case strings.ContainsAny(topic, "+#\x00"):
		return "", refuse(frame.InvalidField, "The address of a sender has no wildcards: "+strconv.Quote(topic))
	}
	return topic, nil
}
