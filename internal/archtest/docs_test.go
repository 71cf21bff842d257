package archtest

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// read returns the text of a document without its code blocks.
func read(t *testing.T, p string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, p))
	if err != nil {
		t.Fatal(err)
	}
	return fence.ReplaceAllString(string(text), "")
}

// anchors returns the fragments that the headings of a document can be linked to with.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		plain := noSlug.ReplaceAllString(strings.ToLower(h[1]), "")
		out[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return out
}

func TestLinksResolve(t *testing.T) {
	walk(t, func(p string) {
		if path.Ext(p) != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(read(t, p), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := p
			if target != "" {
				to = path.Join(path.Dir(p), target)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", p, m[1])
				continue
			}
			if fragment != "" && path.Ext(to) == ".md" && !anchors(read(t, to))[fragment] {
				t.Errorf("%s: %s has no heading #%s", p, to, fragment)
			}
		}
	})
}
