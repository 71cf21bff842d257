package bridge

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each metric that the documents name exists, and has the labels that are asked for.
func TestMetricsInDocuments(t *testing.T) {
	labels := map[string]string{}
	for _, f := range newCollector(&bridge{}).families {
		labels[f.name] = " " + strings.Join(f.labels, " ") + " "
	}
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	metric, label := regexp.MustCompile(`\b(linkspan_[a-z_]+)(?:\{([^}]*)\})?`), regexp.MustCompile(`(\w+)=`)
	found := 0
	for _, name := range append(files, "../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metric.FindAllStringSubmatch(string(text), -1) {
			found++
			has, known := labels[m[1]]
			if !known {
				t.Errorf("%s: there is no metric %s", name, m[1])
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(has, " "+l[1]+" ") {
					t.Errorf("%s: %s has no label %s", name, m[1], l[1])
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("found %d only", found)
	}
}
