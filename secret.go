package linkspan

import (
	"fmt"
	"log/slog"
)

// A Secret is a configured value that must not be seen: a password, a key, a token. However it is printed, logged or
// written as YAML or JSON, it reads [redacted]; only the conversion string(s) gives the value. An empty Secret prints as
// nothing, so that one can see that it is not set.
type Secret string

const redacted = "[redacted]"

// String returns what may be seen.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints what may be seen, whatever the verb: without it %d and %#v would show the value.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || f.Flag('#') {
		fmt.Fprintf(f, "%q", s.String())
		return
	}
	fmt.Fprint(f, s.String())
}

// MarshalText is what encoders of YAML, JSON and text see.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is what slog sees.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
