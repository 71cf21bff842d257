package packet

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func addSeeds(f *testing.F, add func(v Version, wire []byte)) {
	for _, c := range vectors {
		add(c.v, wire(f, c.header, c.body))
	}
	for _, c := range malformedCases {
		for _, v := range c.v {
			add(v, wire(f, c.header, c.body))
		}
	}
}

// FuzzDecode decodes anything: it never panics, an error says which rule, and what decodes is written and decoded to the
// same again.
func FuzzDecode(f *testing.F) {
	addSeeds(f, func(v Version, wire []byte) { f.Add(byte(v), wire) })
	f.Fuzz(func(t *testing.T, version byte, in []byte) {
		v := V31 + Version(version%3)
		raw, n, _, err := Cut(in, 0)
		if n == 0 {
			checkError(t, err)
			return
		}
		p := newPacket(raw.Type())
		if err := p.Decode(v, raw); err != nil {
			checkError(t, err)
			return
		}
		out := p.Append(nil, v)
		again, err := decode(v, out)
		if err != nil {
			t.Fatalf("% x, written as % x: %v", in[:n], out, err)
		}
		if got := again.Append(nil, v); !bytes.Equal(got, out) {
			t.Fatalf("written as % x, then as % x", out, got)
		}
		if got, want := describe(again), describe(p); got != want { // which puts the properties in order
			t.Fatalf("% x, written as % x:\n%s, was\n%s", in[:n], out, got, want)
		}
		if len(out) > n {
			t.Fatalf("% x became longer: % x", in[:n], out)
		}
	})
}

// checkError fails for an error that does not say what a peer must be told. No error is fine.
func checkError(t *testing.T, err error) {
	var e *Error
	if err != nil && (!errors.As(err, &e) || !e.Reason.Failed() || e.Rule == "" || e.Text == "") {
		t.Fatalf("%#v", err)
	}
}

// FuzzCut cuts anything: the answer does not depend on what follows the packet, and all that is known of one that is not
// whole yet stays true.
func FuzzCut(f *testing.F) {
	addSeeds(f, func(_ Version, wire []byte) { f.Add(wire, 0) })
	f.Add([]byte{0x30, 0x80, 0x80, 0x00, 0x30}, 100)
	f.Fuzz(func(t *testing.T, in []byte, max int) {
		raw, n, need, err := Cut(in, max)
		checkError(t, err)
		if n < 0 || n > len(in) || n > 0 && (need != 0 || err != nil) || need != 0 && (need <= len(in) || err != nil) {
			t.Fatalf("n %d, need %d, %v of %d bytes", n, need, err, len(in))
		}
		if n == 0 {
			return
		}
		if max > 0 && n > max {
			t.Fatalf("cut %d bytes, more than %d", n, max)
		}
		alone, m, _, err := Cut(in[:n:n], max)
		if m != n || err != nil || alone.Header != raw.Header || !bytes.Equal(alone.Body, raw.Body) {
			t.Fatalf("cut %d bytes, %v, without what follows; %d with it", m, err, n)
		}
		for k := range min(n, 8) {
			if _, m, need, err := Cut(in[:k], max); m != 0 || err != nil || need != 0 && need != n {
				t.Fatalf("the first %d of %d bytes: n %d, need %d, %v", k, n, m, need, err)
			}
		}
	})
}

// FuzzText compares the checks of strings with plain definitions of them.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "a/+/#", "+", "#", "$share/g/a/+", "abcdefgh\x00", "\xed\xa0\x80", "温度/#", "a/b+", "sport/tennis#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > maxText {
			return
		}
		text := utf8.ValidString(s) && !strings.Contains(s, "\x00")
		name := text && s != "" && !strings.ContainsAny(s, "+#")
		filter := text && s != ""
		levels := strings.Split(s, "/")
		if levels[0] == "$share" && len(levels) > 1 {
			filter = filter && len(levels) > 2 && levels[1] != "" && !strings.ContainsAny(levels[1], "+#") && strings.Join(levels[2:], "/") != ""
			levels = levels[min(2, len(levels)):]
		}
		for i, level := range levels {
			plain := !strings.ContainsAny(level, "+#")
			filter = filter && (plain || level == "+" || level == "#" && i == len(levels)-1)
		}
		for what, got := range map[string][3]bool{
			"text":       {text, ValidText(s) == nil, ValidText([]byte(s)) == nil},
			"topic name": {name, ValidTopicName(s) == nil, ValidTopicName([]byte(s)) == nil},
			"filter":     {filter, ValidFilter(s) == nil, ValidFilter([]byte(s)) == nil},
		} {
			if got[0] != got[1] || got[0] != got[2] {
				t.Fatalf("%q as %s: %v", s, what, got)
			}
		}
	})
}
