package frame

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// unhex returns the bytes that s writes in hexadecimal, with spaces wherever; '…' is text as it stands.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// a performative is any body of a frame.
type performative interface {
	Decode(body []byte) error
	Append(b []byte) []byte
}

// newPerformative returns an empty one of that descriptor, nil if there is none.
func newPerformative(d Descriptor) performative {
	switch d {
	case CodeOpen:
		return new(Open)
	case CodeBegin:
		return new(Begin)
	case CodeAttach:
		return new(Attach)
	case CodeFlow:
		return new(Flow)
	case CodeTransfer:
		return new(Transfer)
	case CodeDisposition:
		return new(Disposition)
	case CodeDetach:
		return new(Detach)
	case CodeEnd:
		return new(End)
	case CodeClose:
		return new(Close)
	case CodeSASLMechanisms:
		return new(SASLMechanisms)
	case CodeSASLInit:
		return new(SASLInit)
	case CodeSASLChallenge:
		return new(SASLChallenge)
	case CodeSASLResponse:
		return new(SASLResponse)
	case CodeSASLOutcome:
		return new(SASLOutcome)
	}
	return nil
}

// checkError fails for an error that does not say what the peer must be told. No error is fine.
func checkError(t testing.TB, err error) {
	t.Helper()
	var e *Error
	if err != nil && (!errors.As(err, &e) || e.Condition == "" || !strings.Contains(e.Description, "[AMQP ")) {
		t.Fatalf("%#v", err)
	}
}

// wantError fails unless err has that condition and cites that section.
func wantError(t testing.TB, err error, condition Symbol, section string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Condition != condition || !strings.HasSuffix(e.Description, "[AMQP "+section+"]") {
		t.Errorf("got %v, want %s of section %s", err, condition, section)
	}
}

// value builds a value out of one encoding.
func value(t testing.TB, b []byte) Value {
	t.Helper()
	v, err := ParseValue(b)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return v
}

// mapOf returns a map of symbols to strings.
func mapOf(pairs ...string) Map {
	b := BeginMap(nil)
	for i := 0; i < len(pairs); i += 2 {
		b = AppendString(AppendSymbol(b, pairs[i]), pairs[i+1])
	}
	return Map(EndMap(b, 0, len(pairs)/2))
}
