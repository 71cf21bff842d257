package client_test

import (
	"testing"
)

// What a broker has is accepted when the sink has it, in order (SPK-A1, P1, P3).
func TestReceives(t *testing.T) {
	b := broker(t)
	b.Feed("q", encodeAll(2500)...)
	r := start(t, b.URL(), []string{"q"})
	r.until("all to be accepted", func() bool { return len(b.Accepted("q")) == 2500 })
	equal(t, "received", r.sink.payloads(), payloads(2500))
	equal(t, "accepted", bodies(t, b.Accepted("q")), payloads(2500))
}
