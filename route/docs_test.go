package route

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestMappingDocument: the examples of docs/mapping.md compile, and its tables have every header, fact and placeholder.
func TestMappingDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 3 {
		t.Errorf("found %d examples", len(blocks))
	}
	for _, block := range blocks {
		var config struct {
			Routes       []Config `yaml:"routes"`
			DefaultRoute *Config  `yaml:"default_route"`
		}
		decoder := yaml.NewDecoder(bytes.NewReader(block[1]))
		decoder.KnownFields(true)
		if err := decoder.Decode(&config); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
			continue
		}
		options := devices()
		options.Default = config.DefaultRoute
		if _, err := New(config.Routes, options); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
	var names []string
	for _, f := range fieldTable() {
		names = append(names, "| `{"+f.name+"}` |")
	}
	for _, fact := range factNames() {
		if names = append(names, "`"+fact+"`"); fact != "user" && fact != "amqp" {
			names = append(names, "| `mqtt."+fact+"` |")
		}
	}
	for _, codec := range codecs() {
		names = append(names, "| `"+codec+"`")
	}
	for _, word := range unknowns() {
		names = append(names, "| `"+word+"`")
	}
	for _, name := range append(names, "`"+hopsProperty+"`", "`"+userPrefix+"NAME`", "`"+headerOrigin+"`", "`"+headerHops+"`") {
		if !strings.Contains(string(text), name) {
			t.Errorf("%s is not in the document", name)
		}
	}
}

// TestDefaultRoutesAreDocumented: the document's second example is what DefaultRoutes returns.
func TestDefaultRoutesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range DefaultRoutes() {
		line := "{name: " + r.Name + `, from: "` + r.From + `", to: "` + r.To + `"`
		if r.Key != nil {
			line += `, key: "` + *r.Key + `"`
		}
		if r.Names != "" {
			line += ", names: " + r.Names
		}
		if !strings.Contains(string(text), line+"}") {
			t.Errorf("%s is not in the document", line)
		}
	}
}
