package amqp

import (
	"errors"

	"github.com/linkspan/linkspan/amqp/frame"
)

// ErrRejected is what a [Rejection] is.
var ErrRejected = errors.New("rejected by a receiver")

// A Rejection is why a record that a receiver has refused becomes a dead letter.
type Rejection struct {
	Endpoint    string
	Address     string // of the receiver's link
	Condition   string // "": the receiver gave none
	Description string
}

// Error says who rejected the record and why.
func (r *Rejection) Error() string {
	text := "rejected by a receiver of " + r.Address
	for _, more := range []string{r.Condition, r.Description} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// Is reports whether target is ErrRejected.
func (r *Rejection) Is(target error) bool { return target == ErrRejected }

func (r *receiver) rejection(e *frame.Error) *Rejection {
	return &Rejection{Endpoint: r.c.l.cfg.Name, Address: r.address, Condition: string([]byte(e.Condition)), Description: string([]byte(e.Description))}
}
