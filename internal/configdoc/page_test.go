package main

import (
	"os"
	"testing"
)

// docs/configuration.md is what the structs and their comments say (UNS-W8).
func TestPageIsCurrent(t *testing.T) {
	want, err := page("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/configuration.md is stale; run: go generate ./bridge")
	}
}
