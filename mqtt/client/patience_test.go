package client

import (
	"errors"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/dial"
)

// What a connection is given more time for has a bound, and is taken back by those on which something was acknowledged.
func TestPatience(t *testing.T) {
	w := &worker{c: &Client{cfg: Config{AckTimeout: time.Second}}, out: newOutbox(1)}
	waits := &delivery{}
	w.out.append(waits)
	expect := func(what string, want time.Duration) {
		t.Helper()
		if c := newConn(w, nil, dial.Target{}, 0); c.patience != want {
			t.Errorf("%s: %v, want %v", what, c.patience, want)
		}
	}
	for range 10 {
		w.detach(&conn{w: w, failure: failed(CauseTimeout, "too late")})
	}
	expect("ten times too late", 16*time.Second)
	w.detach(&conn{w: w, failure: why(errors.New("reset")), sent: true})
	expect("another reason", 16*time.Second)
	for range 3 {
		w.detach(&conn{w: w, failure: failed(CauseTimeout, "too late"), acked: true})
	}
	expect("three times acknowledged", 2*time.Second)
	w.out.remove(waits)
	w.detach(&conn{w: w, failure: failed(CauseTimeout, "silent")})
	expect("nothing to acknowledge", 2*time.Second)
	w.detach(&conn{w: w, failure: why(errors.New("reset")), acked: true})
	w.detach(&conn{w: w, failure: why(errors.New("reset")), acked: true})
	expect("often acknowledged", time.Second)
}
