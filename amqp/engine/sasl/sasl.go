// Package sasl says who somebody is: the mechanisms ANONYMOUS, PLAIN, EXTERNAL, SCRAM-SHA-256 and SCRAM-SHA-512, each for
// the side that asks and the side that checks. It knows nothing of the protocol that carries the messages.
package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
)

// The mechanisms.
const (
	Anonymous   = "ANONYMOUS"     // RFC 4505
	Plain       = "PLAIN"         // RFC 4616
	External    = "EXTERNAL"      // RFC 4422, appendix A
	ScramSHA256 = "SCRAM-SHA-256" // RFC 5802 and 7677
	ScramSHA512 = "SCRAM-SHA-512" // RFC 5802
)

// maxMessage bounds a message of the peer in bytes, so that nobody is made to hash much.
const maxMessage = 4096

var (
	// ErrDenied is all that a peer is told: who it claims to be is unknown, or did not prove it.
	ErrDenied = errors.New("sasl: not authenticated")
	// ErrMalformed is a message that the mechanism does not have.
	ErrMalformed = errors.New("sasl: malformed message")
	// ErrServer is a server that does not know the password either [RFC 5802, 3].
	ErrServer = errors.New("sasl: the server did not prove that it knows the password")
	// ErrMechanism is no mechanism in common.
	ErrMechanism = errors.New("sasl: no mechanism in common")
)

// Checker is the side that checks. It may be used by many connections at once.
type Checker struct {
	// Mechanisms that may be used, the preferred one first. Default: ANONYMOUS alone.
	Mechanisms []string
	// Password returns the password of a user. Whether there is such a user must not show in the time it takes. It is
	// called from any goroutine. Default nil: there are no users.
	Password func(user string) (password string, ok bool)
	// Anyone lets in with PLAIN whoever says a name, and believes it. Password is not asked then. SCRAM cannot do that: it
	// proves to the peer, too, that the password is known.
	Anyone bool
	// Secret makes the salts of SCRAM, so that a user who does not exist has one that stays the same, like everybody. It is
	// to be random, and the same for all connections of a process.
	Secret [32]byte
}

// Offered returns the mechanisms for a peer whose certificate says that it is external: EXTERNAL is among them only if
// that is not empty.
func (c *Checker) Offered(external string) []string {
	if c == nil || len(c.Mechanisms) == 0 {
		return []string{Anonymous}
	}
	offered := make([]string, 0, len(c.Mechanisms))
	for _, m := range c.Mechanisms {
		if m != External || external != "" {
			offered = append(offered, m)
		}
	}
	return offered
}

// Start begins an exchange with the mechanism that the peer chose. external is who its certificate says that it is, ""
// without one. The error is [ErrMechanism] if that was not offered.
func (c *Checker) Start(mechanism, external string) (*Exchange, error) {
	for _, m := range c.Offered(external) {
		if m != mechanism {
			continue
		}
		x := &Exchange{}
		switch m {
		case Anonymous:
			x.next = x.anonymous
		case Plain:
			x.next = func(b []byte) ([]byte, bool, error) { return x.plain(c, b) }
		case External:
			x.next = func(b []byte) ([]byte, bool, error) { return x.external(external, b) }
		case ScramSHA256, ScramSHA512:
			return x, x.checkScram(c, hashOf(m))
		default:
			return nil, ErrMechanism
		}
		return x, nil
	}
	return nil, ErrMechanism
}

// Exchange is one attempt, of either side. It belongs to one goroutine.
type Exchange struct {
	user   string
	proved bool // the other side, as far as the mechanism has it prove anything
	next   func(message []byte) (answer []byte, done bool, err error)
}

// Next takes the peer's next message (nil: it has not said anything) and returns the answer (nil: there is none). done
// says that this side is content; an error that the attempt has failed, and Next must not be called again after either.
func (x *Exchange) Next(message []byte) (answer []byte, done bool, err error) {
	if len(message) > maxMessage {
		return nil, false, ErrMalformed
	}
	return x.next(message)
}

// Finish is for the side that asks, when the other one has said that it is content: with data, if it said more (else nil).
// The error is [ErrServer] if it has not proved what the mechanism has it prove.
func (x *Exchange) Finish(data []byte) error {
	if !x.proved && data != nil {
		if _, _, err := x.Next(data); err != nil {
			return err
		}
	}
	if !x.proved {
		return ErrServer
	}
	return nil
}

// User returns who the peer is, after its exchange is done; "" for anybody.
func (x *Exchange) User() string { return x.user }

func (x *Exchange) anonymous([]byte) ([]byte, bool, error) { return nil, true, nil }

// plain checks "authzid NUL authcid NUL password". Both passwords are hashed before they are compared, so that neither
// where they differ nor their lengths show in the time.
func (x *Exchange) plain(c *Checker, message []byte) ([]byte, bool, error) {
	if message == nil {
		return []byte{}, false, nil // the peer has not said anything yet [RFC 4422, 5]
	}
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 {
		return nil, false, ErrMalformed
	}
	user := string(parts[1])
	want, known := c.password(user)
	if c.Anyone {
		want, known = string(parts[2]), true
	}
	same := hmac.Equal(c.digest("plain", parts[2]), c.digest("plain", []byte(want)))
	if !same || !known || !asItself(parts[0], user) {
		return nil, false, ErrDenied
	}
	x.user = user
	return nil, true, nil
}

func (x *Exchange) external(name string, message []byte) ([]byte, bool, error) {
	if message == nil {
		return []byte{}, false, nil
	}
	if !asItself(message, name) {
		return nil, false, ErrDenied
	}
	x.user = name
	return nil, true, nil
}

// asItself reports whether who is asked to be authorized is the one that is authenticated: nobody acts for another here.
func asItself(authorize []byte, user string) bool {
	return len(authorize) == 0 || string(authorize) == user
}

func (c *Checker) password(user string) (string, bool) {
	if c.Password == nil {
		return "", false
	}
	return c.Password(user)
}

// digest returns a hash of b that nobody outside of this process can make.
func (c *Checker) digest(purpose string, b []byte) []byte {
	h := hmac.New(sha256.New, c.Secret[:])
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)
}
