package envelope

import (
	"errors"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// ErrUserProperties is for a message of which [Read] says that it has too many user properties.
var ErrUserProperties = linkspan.Permanent(errors.New("too many user properties"))

// refusals: the first that matches counts.
var refusals = [...]struct {
	err    error
	reason packet.Reason
	text   string
}{
	{linkspan.ErrNoRoute, packet.TopicNameInvalid, "no route takes this topic"},
	{linkspan.ErrInvalidTopic, packet.TopicNameInvalid, "the topic has no legal name in Kafka"},
	{linkspan.ErrTooManyTopics, packet.QuotaExceeded, "the route has as many Kafka topics as it may"},
	{linkspan.ErrQuota, packet.QuotaExceeded, "the spool is full"},
	{linkspan.ErrTooLarge, packet.QuotaExceeded, "the message is larger than Kafka takes"},
	{linkspan.ErrLoop, packet.ImplementationSpecificError, "the message goes round in a loop"},
	{ErrUserProperties, packet.QuotaExceeded, "more user properties than a message may have"},
	{linkspan.ErrNotAuthorized, packet.NotAuthorized, "not allowed to write there"},
}

// Refusal returns how PUBACK and PUBREC tell the sender that err, a permanent one, makes its message undeliverable. text is for the
// Reason String; "": there is nothing to add to the reason.
func Refusal(err error) (reason packet.Reason, text string) {
	for i := range refusals {
		if errors.Is(err, refusals[i].err) {
			return refusals[i].reason, refusals[i].text
		}
	}
	return packet.UnspecifiedError, ""
}
