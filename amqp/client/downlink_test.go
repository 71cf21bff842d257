package client_test

import (
	"fmt"
	"testing"
)

// What is sent is done when the broker has accepted it.
func TestSends(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), nil)
	for i := range 500 {
		outcome := r.send("q", fmt.Sprint(i))
		if i%100 == 0 {
			if err := wait(t, outcome); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.until("all to be stored", func() bool { return len(b.Stored("q")) == 500 })
}
