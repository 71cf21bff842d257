package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
)

const module = "github.com/linkspan/linkspan"

// comments finds the comments of struct fields in the source.
type comments struct {
	root  string // the folder of go.mod
	known map[string]string
	read  map[string]bool // packages
}

// of returns the comment of a field as one paragraph. A field without one that follows a field with one, with no empty
// line between, is part of what that one says; one without either is part of what its struct says.
func (c *comments) of(t reflect.Type, field string) (string, error) {
	if !c.read[t.PkgPath()] {
		if err := c.load(t.PkgPath()); err != nil {
			return "", err
		}
	}
	comment := c.known[t.PkgPath()+"."+t.Name()+"."+field]
	if comment == "" {
		return "", fmt.Errorf("%s.%s: the field %s has no comment", t.PkgPath(), t.Name(), field)
	}
	return comment, nil
}

func (c *comments) load(pkg string) error {
	if c.known == nil {
		c.known, c.read = map[string]string{}, map[string]bool{}
	}
	c.read[pkg] = true
	files, err := filepath.Glob(filepath.Join(c.root, strings.TrimPrefix(pkg, module), "*.go"))
	if err != nil {
		return err
	}
	for _, f := range files {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, f, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					if st, ok := ts.Type.(*ast.StructType); ok {
						c.structure(fset, pkg+"."+ts.Name.Name+".", st, paragraph(g.Doc))
					}
				}
			}
		}
	}
	return nil
}

// structure takes in the fields of one struct. about is the comment of the struct itself.
func (c *comments) structure(fset *token.FileSet, prefix string, st *ast.StructType, about string) {
	before, line := about, fset.Position(st.Fields.Opening).Line
	for _, f := range st.Fields.List {
		text := paragraph(f.Doc)
		if text == "" {
			text = paragraph(f.Comment)
		}
		if text == "" && fset.Position(f.Pos()).Line == line+1 { // no empty line between
			text = before
		}
		for _, n := range f.Names {
			c.known[prefix+n.Name] = text
		}
		before, line = text, fset.Position(f.End()).Line
	}
}

func paragraph(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
