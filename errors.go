package linkspan

import "errors"

// Errors that protocols have words for. An endpoint turns them into its own reason codes; see mqtt/reason.go.
// All of these are permanent but ErrClosed.
var (
	// ErrNoRoute: no route takes a message of this topic.
	ErrNoRoute = Permanent(errors.New("no route matches the topic"))
	// ErrTooManyTopics: the route would have to create more Kafka topics than its max_topics.
	ErrTooManyTopics = Permanent(errors.New("the route has reached its max_topics"))
	// ErrInvalidTopic: the topic cannot be turned into a legal name on the other side.
	ErrInvalidTopic = Permanent(errors.New("the topic has no legal name on the other side"))
	// ErrLoop: the message has come up to Kafka too often: it goes round between Kafka and a broker.
	ErrLoop = Permanent(errors.New("the message goes round in a loop"))
	// ErrTooLarge: the message is larger than the next holder takes.
	ErrTooLarge = Permanent(errors.New("the message is too large"))
	// ErrQuota: there is no room left to keep it, and its route says to refuse rather than to wait.
	ErrQuota = Permanent(errors.New("the spool is full"))
	// ErrNotAuthorized: the next holder does not let us write there.
	ErrNotAuthorized = Permanent(errors.New("not authorized"))
	// ErrClosed: the sink is stopping and did not take custody. The sender keeps it.
	ErrClosed = errors.New("stopping")
)

// Permanent marks err as one that no retry can help. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent reports whether err, or one that it wraps, was marked by [Permanent]. Everything else is worth a retry
// by whoever has custody.
func IsPermanent(err error) bool {
	if err == nil {
		return false // most messages: nothing is allocated
	}
	var p permanent
	return errors.As(err, &p)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }
