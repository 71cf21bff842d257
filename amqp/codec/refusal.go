package codec

import (
	"errors"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// Refusal puts the error of a sink into the words of AMQP, for who sent the message. otherwise is the condition of what AMQP has no
// word for.
func Refusal(err error, otherwise frame.Symbol) *frame.Error {
	var own *frame.Error
	if errors.As(err, &own) {
		return own
	}
	condition := otherwise
	switch {
	case errors.Is(err, linkspan.ErrNoRoute):
		condition = frame.NotFound
	case errors.Is(err, linkspan.ErrInvalidTopic):
		condition = frame.InvalidField
	case errors.Is(err, linkspan.ErrLoop):
		condition = frame.PreconditionFailed
	case errors.Is(err, linkspan.ErrTooManyTopics), errors.Is(err, linkspan.ErrQuota):
		condition = frame.ResourceLimitExceeded
	case errors.Is(err, linkspan.ErrTooLarge):
		condition = frame.MessageSizeExceeded
	case errors.Is(err, linkspan.ErrNotAuthorized):
		condition = frame.UnauthorizedAccess
	}
	return &frame.Error{Condition: condition, Description: err.Error()}
}
