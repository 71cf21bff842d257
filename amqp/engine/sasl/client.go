package sasl

import "slices"

// Credentials is the side that asks. It may be used by many connections at once.
type Credentials struct {
	// User and Password are for PLAIN and SCRAM. Without a user only EXTERNAL and ANONYMOUS can be used.
	User, Password string
	// Certificate says that the connection has one of ours, so that EXTERNAL is tried first.
	Certificate bool
	// Mechanisms that may be used. Default nil: EXTERNAL with a certificate; with a user the SCRAM ones, and PLAIN if the
	// server has none of them; ANONYMOUS without a user.
	Mechanisms []string
}

// preference is the order in which mechanisms are tried.
var preference = [...]string{External, ScramSHA512, ScramSHA256, Plain, Anonymous}

// Start chooses one of the offered mechanisms, and returns the first message to send with its name. The error is
// [ErrMechanism] if none of them will do.
func (c *Credentials) Start(offered []string) (mechanism string, first []byte, x *Exchange, err error) {
	for _, m := range preference {
		if !c.may(m) || !slices.Contains(offered, m) {
			continue
		}
		x = &Exchange{user: c.User}
		switch m {
		case ScramSHA256, ScramSHA512:
			k, err := knower(hashOf(m), c.User, c.Password)
			if err == nil {
				first, err = x.askScram(k)
			}
			return m, first, x, err
		case Plain:
			first = slices.Concat([]byte{0}, []byte(c.User), []byte{0}, []byte(c.Password))
		case Anonymous:
			first = []byte("linkspan") // a trace [RFC 4505]
		default:
			first = []byte{}
		}
		x.proved = true
		x.next = func([]byte) ([]byte, bool, error) { return nil, true, nil }
		return m, first, x, nil
	}
	return "", nil, nil, ErrMechanism
}

func (c *Credentials) may(mechanism string) bool {
	if c.Mechanisms != nil && !slices.Contains(c.Mechanisms, mechanism) {
		return false
	}
	switch mechanism {
	case External:
		return c.Certificate || c.Mechanisms != nil
	case Anonymous:
		return c.User == "" || c.Mechanisms != nil
	default:
		return c.User != ""
	}
}
