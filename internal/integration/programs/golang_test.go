package programs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// own stands for a program that the project builds, or for the test's own.
const own = unknown + "own"

// starter is a function that starts a program, or looks for it.
type starter struct {
	index int  // of the argument that names the program; its own arguments follow
	each  bool // every argument from there on names one
}

// source is the Go code of one folder.
type source struct {
	fset     *token.FileSet
	files    []*ast.File
	root     string
	consts   map[string]ast.Expr
	starters map[string]starter // by name; methods have a dot before theirs
}

// goCalls takes every program that the Go code of a folder starts or looks for. dynamic has the programs of
// what only the running test knows, by "file: expression"; what is found there is deleted from it.
func (c *calls) goCalls(t *testing.T, root, folder string, dynamic map[string]string) {
	t.Helper()
	s := source{fset: token.NewFileSet(), root: root, consts: map[string]ast.Expr{}, starters: map[string]starter{
		"exec.Command": {index: 0}, "exec.CommandContext": {index: 1}, "exec.LookPath": {index: 0},
	}}
	paths, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(s.fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, file)
		for _, group := range file.Comments {
			for _, comment := range group.List {
				c.generate(t, s.where(comment), comment.Text)
			}
		}
	}
	s.eachFunction(func(*ast.FuncDecl) {}, func(name string, value ast.Expr) { s.consts[name] = value })
	for known := 0; known < len(s.starters); {
		known = len(s.starters)
		s.eachFunction(func(f *ast.FuncDecl) { s.wrapper(f) }, nil)
	}
	s.eachFunction(func(f *ast.FuncDecl) { c.function(t, &s, f, dynamic) }, nil)
}

// generate takes a line that go generate executes; bpf2go is told by options what it is to call.
func (c *calls) generate(t *testing.T, where, comment string) {
	t.Helper()
	command, ok := strings.CutPrefix(comment, "//go:generate ")
	if !ok {
		return
	}
	c.script(t, where, command)
	for _, found := range regexp.MustCompile(`-(?:cc|strip) (\S+)`).FindAllStringSubmatch(command, -1) {
		*c = append(*c, call{where, found[1]})
	}
}

func (s *source) where(node ast.Node) string {
	position := s.fset.Position(node.Pos())
	name, err := filepath.Rel(s.root, position.Filename)
	if err != nil {
		name = position.Filename
	}
	return fmt.Sprintf("%s:%d", name, position.Line)
}

// eachFunction visits the functions, and the values of constants of the folder.
func (s *source) eachFunction(function func(*ast.FuncDecl), constant func(string, ast.Expr)) {
	for _, file := range s.files {
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Body != nil {
					function(d)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.CONST && constant != nil && len(v.Values) == len(v.Names) {
						for i, name := range v.Names {
							constant(name.Name, v.Values[i])
						}
					}
				}
			}
		}
	}
}

// starterOf returns what a call starts, if anything.
func (s *source) starterOf(e *ast.CallExpr) (starter, bool) {
	name := ""
	switch f := e.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = "." + f.Sel.Name
		if x, ok := f.X.(*ast.Ident); ok && x.Name == "exec" {
			name = "exec" + name
		}
	}
	found, ok := s.starters[name]
	return found, ok && found.index < len(e.Args)
}

// wrapper notes f if it starts what one of its own parameters names.
func (s *source) wrapper(f *ast.FuncDecl) {
	var parameters []string
	for _, field := range f.Type.Params.List {
		for _, name := range field.Names {
			parameters = append(parameters, name.Name)
		}
	}
	name := f.Name.Name
	if f.Recv != nil {
		name = "." + name
	}
	s.eachStart(f, func(_ *ast.CallExpr, words []ast.Expr, _ bool) {
		word := words[0]
		if slices.Contains(runners, s.texts(f, word)[0]) && len(words) > 1 {
			word = words[1]
		}
		id, ok := word.(*ast.Ident)
		if !ok {
			return
		}
		if i := slices.Index(parameters, id.Name); i >= 0 {
			s.starters[name] = starter{index: i}
			return
		}
		for _, value := range s.values(f, id.Name) {
			if list, ok := value.(*ast.Ident); ok && slices.Contains(parameters, list.Name) {
				s.starters[name] = starter{index: slices.Index(parameters, list.Name), each: true}
			}
		}
	})
}

// eachStart visits the calls in f that start a program, with the program and its arguments.
func (s *source) eachStart(f *ast.FuncDecl, visit func(e *ast.CallExpr, words []ast.Expr, each bool)) {
	ast.Inspect(f.Body, func(node ast.Node) bool {
		if e, ok := node.(*ast.CallExpr); ok {
			if start, ok := s.starterOf(e); ok {
				visit(e, flatten(e.Args[start.index:]), start.each)
			}
		}
		return true
	})
}

// flatten takes lists and appends apart.
func flatten(list []ast.Expr) (words []ast.Expr) {
	for _, e := range list {
		switch v := e.(type) {
		case *ast.CompositeLit:
			words = append(words, flatten(v.Elts)...)
		case *ast.CallExpr:
			if name, ok := v.Fun.(*ast.Ident); ok && name.Name == "append" {
				words = append(words, flatten(v.Args)...)
				continue
			}
			words = append(words, v)
		default:
			words = append(words, e)
		}
	}
	return words
}

// values are what a name in f is given: by assignments, and by ranging over something.
func (s *source) values(f *ast.FuncDecl, name string) (values []ast.Expr) {
	is := func(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == name }
	ast.Inspect(f.Body, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.AssignStmt:
			if i := slices.IndexFunc(n.Lhs, is); i >= 0 && (len(n.Rhs) == len(n.Lhs) || i == 0) {
				values = append(values, n.Rhs[i])
			}
		case *ast.RangeStmt:
			if n.Value != nil && is(n.Value) {
				values = append(values, flatten([]ast.Expr{n.X})...)
			}
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if is(id) && i < len(n.Values) {
					values = append(values, n.Values[i])
				}
			}
		}
		return true
	})
	if value, ok := s.consts[name]; ok && len(values) == 0 {
		values = append(values, value)
	}
	return values
}

// texts are what an expression may be, with unknown for what is not in the code.
func (s *source) texts(f *ast.FuncDecl, e ast.Expr) []string {
	switch v := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(v.Value); err == nil {
			return []string{text}
		}
	case *ast.BinaryExpr:
		return []string{s.texts(f, v.X)[0] + s.texts(f, v.Y)[0]}
	case *ast.Ident:
		var all []string
		for _, value := range s.values(f, v.Name) {
			if value != e {
				all = append(all, s.texts(f, value)...)
			}
		}
		if len(all) > 0 {
			return all
		}
	case *ast.IndexExpr:
		if x, ok := v.X.(*ast.SelectorExpr); ok && x.Sel.Name == "Args" {
			return []string{own}
		}
	case *ast.CallExpr:
		if start, ok := s.starterOf(v); ok {
			return s.texts(f, v.Args[start.index])
		}
		switch name := v.Fun.(type) {
		case *ast.Ident:
			if name.Name == "binary" {
				return []string{own}
			}
		case *ast.SelectorExpr:
			switch name.Sel.Name {
			case "Executable", "Join": // the test's own, and a file that it has made
				return []string{own}
			case "Sprintf":
				return []string{regexp.MustCompile(`%(\[\d\])?[a-z]`).ReplaceAllString(s.texts(f, v.Args[0])[0], unknown)}
			}
		}
	}
	return []string{unknown}
}

// function takes what one function starts.
func (c *calls) function(t *testing.T, s *source, f *ast.FuncDecl, dynamic map[string]string) {
	t.Helper()
	s.eachStart(f, func(e *ast.CallExpr, words []ast.Expr, each bool) {
		where := s.where(e)
		var rest []string
		for _, word := range words[1:] {
			text := s.texts(f, word)[0]
			if each {
				c.command(t, where, []string{text})
			}
			rest = append(rest, text)
		}
		for _, first := range s.texts(f, words[0]) {
			switch {
			case first == own:
			case isKnown(first):
				c.command(t, where, append([]string{first}, rest...))
			case !s.isParameter(f, words[0]):
				file, _, _ := strings.Cut(where, ":")
				key := file + ": " + nameOf(words[0])
				programs, ok := dynamic[key]
				if !ok {
					t.Errorf("%s: which program is this? Name it in the code, or say in the table of dynamic programs what %q may be", where, key)
				}
				for _, program := range strings.Fields(programs) {
					*c = append(*c, call{where, program})
				}
			}
		}
	})
}

// isParameter says whether an expression is a parameter of f, or ranges over one: who calls f names the
// program.
func (s *source) isParameter(f *ast.FuncDecl, e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	if !ok {
		return false
	}
	for _, field := range f.Type.Params.List {
		for _, name := range field.Names {
			if name.Name == id.Name {
				return true
			}
		}
	}
	return slices.ContainsFunc(s.values(f, id.Name), func(value ast.Expr) bool {
		if e, ok := value.(*ast.CallExpr); ok {
			if start, ok := s.starterOf(e); ok {
				value = e.Args[start.index]
			}
		}
		v, ok := value.(*ast.Ident)
		return ok && v.Name != id.Name && s.isParameter(f, v)
	})
}

func nameOf(e ast.Expr) string {
	switch v := e.(type) {
	case *ast.Ident:
		return v.Name
	case *ast.SelectorExpr:
		return nameOf(v.X) + "." + v.Sel.Name
	case *ast.IndexExpr:
		return nameOf(v.X) + "[]"
	case *ast.CallExpr:
		return nameOf(v.Fun) + "()"
	case *ast.StarExpr:
		return "*" + nameOf(v.X)
	}
	return fmt.Sprintf("%T", e)
}
