package harness

import (
	"context"
	"fmt"
)

// A Device is one connection of an MQTT client that somebody else made.
type Device interface {
	// Subscribe returns when the subscription is granted; less than what was asked for is an error.
	Subscribe(ctx context.Context, s Subscription) error
	// Publish returns when the message is acknowledged: at once for QoS 0.
	Publish(ctx context.Context, m Message) error
	// Next returns the next message that came in.
	Next(ctx context.Context) (Message, error)
	// Close sends a DISCONNECT.
	Close() error
}

// Options of a connection.
type Options struct {
	URL     string // mqtt, mqtts, ws, wss
	CA      string // file of the authority to trust; for mqtts and wss
	Client  string
	Version int // 3: MQTT 3.1, 4: 3.1.1, 5
	Will    *Message

	AutoAlias bool // the library chooses topic aliases for what it publishes
}

// A Subscription as MQTT 5 knows it; earlier versions have only the filter and the QoS.
type Subscription struct {
	Filter                     string
	QoS                        byte
	NoLocal, RetainAsPublished bool
	RetainHandling             byte
	ID                         int // 0: none
}

// A Message with all that MQTT 5 can say about it.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	Format          int // 0: absent, else one more than on the wire
	Expiry          int // seconds; 0: absent
	ContentType     string
	ResponseTopic   string
	Correlation     []byte
	User            []Pair
	SubscriptionIDs []int
	Alias           int // of a message to publish
}

// Pair is a user property.
type Pair struct{ Key, Value string }

// Make is a make of MQTT client, with what it can do.
type Make struct {
	Name     string
	Versions []int
	Schemes  []string
	IDs      bool // has subscription identifiers
	Dial     func(context.Context, Options) (Device, error)
}

// checkGranted compares what a server granted, as its number in decimal, with what was asked for.
func checkGranted(s Subscription, granted string) error {
	if granted != fmt.Sprint(s.QoS) {
		return fmt.Errorf("subscribed to %s with QoS %d, granted %s", s.Filter, s.QoS, granted)
	}
	return nil
}
