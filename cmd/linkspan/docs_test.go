package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var (
	example  = regexp.MustCompile(`(?m)^    (?:[A-Z_]+=\S+ )*(?:go run \./cmd/)?linkspan (.*)$`)
	argument = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// argumentsOf cuts a line as a shell does, up to where it goes on to another program, a file or a comment.
func argumentsOf(line string) (args []string) {
	for _, a := range argument.FindAllString(line, -1) {
		if strings.HasPrefix(a, "#") || a == "|" || a == ">" || a == "&" {
			break
		}
		args = append(args, strings.Trim(a, `'"`))
	}
	return args
}

// Each command line in the documents, and in the help that the commands give, is one that the program takes (UNS-W8).
func TestCommandLinesInDocuments(t *testing.T) {
	texts := map[string]string{"description": description}
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range append(files, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	var help func(n *kong.Node)
	help = func(n *kong.Node) {
		texts[n.FullPath()] = n.Detail
		for _, c := range n.Children {
			help(c)
		}
	}
	help(newParser(t).Model.Node)
	found := 0
	for name, text := range texts {
		for _, m := range example.FindAllStringSubmatch(text, -1) {
			found++
			if _, err := newParser(t).Parse(argumentsOf(m[1])); err != nil {
				t.Errorf("%s: linkspan %s: %v", name, m[1], err)
			}
		}
	}
	if found < 40 {
		t.Errorf("found %d only", found)
	}
}

func newParser(t *testing.T) *kong.Kong {
	t.Helper()
	return kong.Must(new(commandLine), kong.Name("linkspan"), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
}
