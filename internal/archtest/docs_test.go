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

// ARCHITECTURE.md names every package of the picture, and every promise of its first table is cited where it is kept and
// where it is proved.
func TestArchitectureIsTrue(t *testing.T) {
	text := read(t, "ARCHITECTURE.md")
	for dir := range picture {
		if dir != "." && !strings.Contains(dir, "bridge/internal") && !strings.Contains(text, "]("+dir+")") {
			t.Errorf("ARCHITECTURE.md does not link to %s", dir)
		}
	}
	promises := regexp.MustCompile(`(?m)^\| (P\d) \|`).FindAllStringSubmatch(text, -1)
	if len(promises) != 8 {
		t.Fatalf("found %d promises", len(promises))
	}
	kept, proved := map[string]bool{}, map[string]bool{}
	cite := regexp.MustCompile(`\bP\d\b`)
	for _, s := range sources(t) {
		for _, c := range s.file.Comments {
			for _, p := range cite.FindAllString(c.Text(), -1) {
				kept[p] = kept[p] || !s.test()
				proved[p] = proved[p] || s.test()
			}
		}
	}
	for _, p := range promises {
		if !kept[p[1]] || !proved[p[1]] {
			t.Errorf("%s: cited where it is kept: %v, where it is proved: %v", p[1], kept[p[1]], proved[p[1]])
		}
	}
}
