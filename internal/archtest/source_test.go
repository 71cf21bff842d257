package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/linkspan/linkspan"
)

// A source is one parsed Go file of this module.
type source struct {
	path  string // from the module's root, with slashes
	dir   string // its folder: "." for the root package
	lines int
	file  *ast.File
	fset  *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// helper reports whether the package exists for tests alone.
func (s source) helper() bool { return helper(s.dir) }

func helper(dir string) bool {
	return strings.HasSuffix(path.Base(dir), "test") || dir == "internal/custody"
}

func (s source) imports(pkg string) bool {
	return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"`+pkg+`"` })
}

func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

// walk calls visit for every file of the repository that belongs to this module or its documents.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if !e.IsDir() {
			visit(rel)
			return nil
		}
		name := e.Name()
		if rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "node_modules") {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// parsed is what all tests read, and none changes: parsing is most of their time.
var parsed struct {
	once sync.Once
	all  []source
}

// sources returns every Go file of this module.
func sources(t *testing.T) []source {
	t.Helper()
	parsed.once.Do(func() { parsed.all = parse(t) })
	if len(parsed.all) < 20 {
		t.Fatalf("found %d Go files only", len(parsed.all))
	}
	return parsed.all
}

// parse parses every Go file of this module. Folders with a go.mod of their own are other modules.
func parse(t *testing.T) []source {
	t.Helper()
	var out []source
	var others []string
	walk(t, func(p string) {
		if path.Base(p) == "go.mod" && p != "go.mod" {
			others = append(others, path.Dir(p)+"/")
		}
	})
	walk(t, func(p string) {
		for _, o := range others {
			if strings.HasPrefix(p, o) {
				return
			}
		}
		if !strings.HasSuffix(p, ".go") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, source{p, path.Dir(p), strings.Count(string(text), "\n"), file, fset})
	})
	return out
}
