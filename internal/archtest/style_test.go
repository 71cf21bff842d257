package archtest

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

const (
	maxFile     = 500 // lines
	maxFunction = 60
)

// longFiles and longFunctions are over the limits, with the reason.
var (
	longFiles     = map[string]string{}
	longFunctions = map[string]string{}
)

// goroutines names the files that may start some, and what for. None is for a single message, and each has someone who
// waits for its end.
var goroutines = map[string]string{
	"amqp/attach.go":                   "one for each connection whose receivers wait for Kafka; Run waits",
	"amqp/client/conn.go":              "reading and writing of one connection; finish waits",
	"bridge/parts.go":                  "one for each part that runs; stop waits",
	"bridge/check.go":                  "one for each broker that is tried; CheckClients waits",
	"bridge/internal/sample/sample.go": "the connection; connected waits",
	"cmd/linkspan/run.go":              "signals; ends with the process",
	"group/registry.go":                "one for each Kafka consumer; Run waits",
	"internal/wire/conn.go":            "one for each connection; Run of the server waits",
	"internal/wire/out.go":             "writing to a peer that takes no more; Run of the server waits",
	"internal/wire/server.go":          "helpers of all connections; Run waits",
	"kafka/consumer.go":                "commits, and looking for new topics; Run waits",
	"kafka/embedded.go":                "retention; Close waits",
	"kafka/lane.go":                    "one for each partition; release waits",
	"kafka/shards.go":                  "two of a member; Run waits",
	"kafka/duty.go":                    "one for each lane and kind of work; Run waits",
	"kafka/topic.go":                   "preparing new topics; Close waits",
	"mqtt/client/client.go":            "one for each worker; Run waits",
	"mqtt/client/conn.go":              "reading, writing and the clock of one connection; finish waits",
	"session/behind.go":                "one for each session that is served from Kafka; Close waits",
	"session/registry.go":              "the wait itself, in Close",
	"spool/journal/journal.go":         "the committer; Run waits",
	"spool/spool.go":                   "watching, draining and the journal; Run waits",
	"session/will.go":                  "publishing wills, one at a time; Close waits",
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFile && longFiles[s.path] == "" {
			t.Errorf("%s: %d lines, at most %d", s.path, s.lines, maxFile)
		}
		if s.test() {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > maxFunction && longFunctions[s.dir+"."+name(f)] == "" {
				t.Errorf("%s:%d: %s has %d lines, at most %d", s.path, s.line(f.Pos()), name(f), n, maxFunction)
			}
		}
	}
}

// name returns a function's name, with its receiver's type.
func name(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return receiver(f) + "." + f.Name.Name
}

func receiver(f *ast.FuncDecl) string {
	e := f.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestEveryPackageIsIntroduced(t *testing.T) {
	introduced := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		doc := s.file.Doc.Text()
		introduced[s.dir] = introduced[s.dir] || strings.HasPrefix(doc, "Package "+s.file.Name.Name+" ") || s.file.Name.Name == "main" && doc != ""
	}
	for dir, ok := range introduced {
		if !ok {
			t.Errorf("package %s has no comment that begins with its name", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			for _, n := range undocumented(d) {
				t.Errorf("%s:%d: %s has no comment", s.path, s.line(n.Pos()), n.Name)
			}
		}
	}
}

// undocumented returns the exported names of a declaration that have no comment, and are in no group that has one.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) && !obvious(d.Name.Name) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		if d.Tok != token.TYPE && d.Doc != nil {
			return nil
		}
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && s.Doc == nil && s.Comment == nil {
						names = append(names, n)
					}
				}
			}
		}
	}
	return names
}

// obvious reports whether a method does what its well-known interface says, so that a comment would only repeat it.
func obvious(method string) bool {
	switch method {
	case "String", "GoString", "Format", "Error", "Unwrap", "UnmarshalText", "MarshalText", "LogValue", "Len", "Less", "Swap":
		return true
	}
	return false
}

// Tests wait for what they need, not for a guessed time; in the program a sleep could not be ended by a context. In the
// virtual time of synctest a sleep is neither.
func TestNobodySleeps(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() && s.imports("testing/synctest") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok && call.Sel.Name == "Sleep" {
				if x, ok := call.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s:%d: time.Sleep", s.path, s.line(n.Pos()))
				}
			}
			return true
		})
	}
}

func TestGoroutinesStartWhereTheyMay(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() || s.helper() || s.dir == "bench" || strings.HasPrefix(s.dir, "bench/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if startsGoroutine(n) {
				seen[s.path] = true
				if goroutines[s.path] == "" {
					t.Errorf("%s:%d: starts a goroutine; add the file to the list if it is not one for each message, and someone waits for its end", s.path, s.line(n.Pos()))
				}
			}
			return true
		})
	}
	for path := range goroutines {
		if !seen[path] {
			t.Errorf("%s is in the list but starts no goroutine", path)
		}
	}
}

// startsGoroutine reports whether n is a go statement, or a call of the Go method of a WaitGroup.
func startsGoroutine(n ast.Node) bool {
	if _, ok := n.(*ast.GoStmt); ok {
		return true
	}
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && method.Sel.Name == "Go"
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s:%d: init", s.path, s.line(f.Pos()))
			}
		}
	}
}
