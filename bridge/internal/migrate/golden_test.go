package migrate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func fileOf(t *testing.T, name string) File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if os.IsNotExist(err) {
		return File{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return File{name, text}
}

// golden compares what was made with testdata/NAME.yaml, and its notes with testdata/NAME.notes.
func golden(t *testing.T, name string, r Result) {
	t.Helper()
	for ending, got := range map[string]string{
		".yaml":  r.Text,
		".notes": strings.Join(append(r.Notes, "variables: "+strings.Join(r.Variables, " ")), "\n") + "\n",
	} {
		path := filepath.Join("testdata", name+ending)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; look at the difference, then go test -update:\n%s", path, got)
		}
	}
}

// connector's variables give the same messages in the same topics (CON-A1, A2, A3, A6, A7, A9, A10).
func TestConnectorGolden(t *testing.T) {
	for _, name := range []string{"connector", "connector-oauth"} {
		environ, err := DotEnv(fileOf(t, name+".env"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Connector(environ)
		if err != nil {
			t.Fatal(name, err)
		}
		golden(t, name, r)
	}
}

// The settings of the UNS mapper: each key of the TLS map has an equivalent, and verification is on (UNS-A8, A9, A12).
func TestUNSGolden(t *testing.T) {
	for _, name := range []string{"uns", "uns-secure"} {
		r, err := UNS(fileOf(t, name+".settings.yaml"), fileOf(t, name+".secrets.yaml"), nil)
		if err != nil {
			t.Fatal(name, err)
		}
		golden(t, name, r)
	}
}

// The rules of the Strimzi bridge's README, as they are now, and as they were first.
func TestStrimziGolden(t *testing.T) {
	for _, name := range []string{"strimzi", "strimzi-first"} {
		r, err := Strimzi(fileOf(t, name+".rules.json"), fileOf(t, name+".properties"))
		if err != nil {
			t.Fatal(name, err)
		}
		golden(t, name, r)
	}
}
