package strict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file writes a file and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A value may be what a mounted file holds, without the one line end that it closes with (UNS-A12).
func TestFilesInValues(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"s3cret\n", "s3cret"},
		{"s3cret\r\n", "s3cret"},
		{"s3cret", "s3cret"},
		{"two\nlines\n\n", "two\nlines\n"},
		{" kept \n", " kept "},
		{"${HOME} $${ {}", "${HOME} $${ {}"}, // a file is text, with no variables of its own
		{"", ""},
	} {
		var h house
		d := &Decoder{ReadFile: os.ReadFile}
		d.File("h.yaml", []byte("name: a-${file:"+file(t, c.content)+"}-z"), &h)
		if err := d.Err(); err != nil || h.Name != "a-"+c.want+"-z" {
			t.Errorf("%q: %q, %v", c.content, h.Name, err)
		}
	}
	var h house
	d := &Decoder{ReadFile: os.ReadFile}
	d.File("h.yaml", []byte("keys: ${file:"+file(t, "a, b\n")+"}\ndoors: ${file:"+file(t, "7\n")+"}"), &h)
	if d.Err() != nil || strings.Join(h.Keys, "|") != "a|b" || h.Doors != 7 {
		t.Errorf("%q, %d, %v", h.Keys, h.Doors, d.Err())
	}
}

func TestFilesThatCannotBeValues(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"${file:/nowhere/at/all}", "h.yaml:1:7: name: ${file:/nowhere/at/all}: open /nowhere/at/all: no such file"},
		{"${file:" + t.TempDir() + "}", "is a directory"},
		{"${file:" + file(t, strings.Repeat("x", maxFile+1)) + "}", "a value has at most 1048576"},
		{"${file:" + file(t, "\xff") + "}", "not text"},
		{"${file:${DIR}/x}", "variables do not nest"},
		{"${file:}", "${file:} is not a variable"},
		{"${file:/a", "${file:/a is not a variable"},
	} {
		var h house
		d := &Decoder{ReadFile: os.ReadFile}
		d.File("h.yaml", []byte("name: "+c.value), &h)
		if err := d.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.value, err, c.want)
		}
	}
	var h house
	d := &Decoder{}
	d.File("h.yaml", []byte("name: ${file:"+file(t, "x")+"}"), &h)
	if d.Err() == nil {
		t.Error("a decoder without ReadFile has read a file")
	}
}

// What a file holds may be a secret in the wrong place: it is not in the message.
func TestContentOfFilesIsNotTold(t *testing.T) {
	var h house
	d := &Decoder{ReadFile: os.ReadFile}
	d.File("h.yaml", []byte("doors: ${file:"+file(t, "s3cret")+"}"), &h)
	if err := d.Err(); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

// Files of other programs have no variables.
func TestVerbatim(t *testing.T) {
	var h house
	d := &Decoder{Verbatim: true}
	d.File("h.yaml", []byte("name: a${B}$${"), &h)
	if d.Err() != nil || h.Name != "a${B}$${" {
		t.Errorf("%q, %v", h.Name, d.Err())
	}
}
