package migrate

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/linkspan/linkspan/bridge/internal/strict"
)

// read decodes a page as the configuration is.
func read(t *testing.T, p *page, into any) {
	t.Helper()
	text := p.done().Text
	d := &strict.Decoder{}
	d.File("page", []byte(text), into)
	if err := d.Err(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// What is written is what is read, whatever the text.
func FuzzPage(f *testing.F) {
	for _, s := range []string{"a", "null", "~", "true", "a: b", "a #b", "${X}", "$${X}", "- a", "'", "\"", "\\", "{a}", "[a", "a:", "ü\n\t ", "0x1f", "1_000", "!t", "&a", "*a", "%", "@", "`", "|", ">", " a ", "<<", "=", "\u2028\ufeff\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || s == "" {
			return
		}
		var got struct {
			Section struct {
				Text string   `yaml:"text"`
				List []string `yaml:"list"`
			} `yaml:"section"`
			Entries []struct {
				Text string `yaml:"text"`
			} `yaml:"entries"`
		}
		var p page
		p.comment(s)
		p.section("section", func() {
			p.set("text", s)
			p.note(s)
			p.list("list", []string{s, s})
		})
		p.section("entries", func() {
			p.entry(func() { p.set("text", s) })
			p.comment(s)
			p.entry(func() { p.set("text", s) })
		})
		read(t, &p, &got)
		if got.Section.Text != s || !slices.Equal(got.Section.List, []string{s, s}) || len(got.Entries) != 2 || got.Entries[1].Text != s {
			t.Errorf("%q became %+v\n%s", s, got, p.done().Text)
		}
	})
}

func TestPage(t *testing.T) {
	var p page
	p.section("empty", func() { p.set("nothing", ""); p.list("none", nil) })
	p.comment(strings.Repeat("word ", 60))
	p.section("full", func() { p.secret("password", "PASSWORD"); p.secret("again", "PASSWORD") })
	r := p.done()
	if strings.Contains(r.Text, "empty") || !slices.Equal(r.Variables, []string{"PASSWORD"}) || !strings.Contains(r.Text, "full:\n  password: ${PASSWORD}\n") {
		t.Errorf("%q\n%s", r.Variables, r.Text)
	}
	for line := range strings.Lines(r.Text) {
		if len(line) > pageWidth+1 {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
}
