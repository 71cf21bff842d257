package client

import "github.com/linkspan/linkspan"

// State remembers what the sessions at the broker know of us, longer than this process lives. With it a start subscribes to
// nothing that is subscribed already, unsubscribes what is wanted no more, and empties the sessions of workers that are too many.
//
// Load is called once, when Run begins; Save whenever something has changed, by one goroutine at a time. Both may take
// a moment, during which nothing is subscribed, and what Save is handed is not changed any more. While Save fails nothing is
// unsubscribed: whoever comes next would not know, and not subscribe to it if it is wanted again. The next connection tries again.
type State interface {
	Load() Subscribed
	Save(Subscribed) error
}

// Subscribed is what is known of the sessions at one broker.
type Subscribed struct {
	Workers []WorkerState `json:"workers,omitempty"`
}

// WorkerState is what is known of one session.
type WorkerState struct {
	ClientID      string         `json:"client_id"`
	Subscriptions []Subscription `json:"subscriptions,omitempty"`
}

// Subscription is one topic filter that a session has.
type Subscription struct {
	Filter string       `json:"filter"` // with $share/NAME/ where it is shared
	QoS    linkspan.QoS `json:"qos"`
	// ID is the Subscription Identifier [MQTT 3.8.2.1.2], 0 for none.
	ID uint32 `json:"id,omitempty"`
	// NoLocal says that the broker does not send us what we publish ourselves [MQTT-3.8.3-3].
	NoLocal bool `json:"no_local,omitempty"`
	// Unsure says that the broker has been asked to subscribe or unsubscribe, and perhaps did.
	Unsure bool `json:"unsure,omitempty"`
}
