package frame

import (
	"bytes"
	"testing"
)

// What people read in logs is what the specification prints.
func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Sender.String(), "sender"},
		{Receiver.String(), "receiver"},
		{Accepted.String(), "accepted"},
		{Transactional.String(), "transactional-state"},
		{StateKind(99).String(), "unknown(99)"},
		{Described.String(), "described"},
		{Type(99).String(), "unknown(99)"},
		{(&Error{Condition: NotFound}).Error(), "amqp:not-found"},
		{(&Error{Condition: NotFound, Description: "no topic t"}).Error(), "amqp:not-found: no topic t"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	for k := NoState; k <= Transactional; k++ {
		if want := k == Accepted || k == Rejected || k == Released || k == Modified; k.Outcome() != want {
			t.Errorf("%s is an outcome: %v", k, !want)
		}
	}
}

// The states of an unsettled map go round [AMQP 2.6.13].
func TestStates(t *testing.T) {
	for _, wire := range []string{"40", "00532445", "005323 c0030243 44", "005323 c00502 5201 53ff", "005326 45"} {
		in := unhex(t, wire)
		s, err := ReadState(value(t, in))
		if err != nil || !bytes.Equal(AppendState(nil, &s), in) {
			t.Errorf("% x: %+v, %v", in, s, err)
		}
	}
	if _, err := ReadState(value(t, unhex(t, "00531045"))); err == nil {
		t.Error("an open is a state")
	}
}

// No value at all is written as a null, and goes through as nothing.
func TestNoValue(t *testing.T) {
	var v Value
	if !v.IsNull() || v.Len() != 0 || !bytes.Equal(v.Append(nil), []byte{codeNull}) {
		t.Errorf("%s", show(v))
	}
	for range v.Elements() {
		t.Error("an element")
	}
	for range v.Pairs() {
		t.Error("a pair")
	}
}
