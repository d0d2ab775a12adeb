package programs

import (
	"path"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// unknown stands in a word for what only the running program knows.
const unknown = "\uFFFC"

func isKnown(word string) bool { return word != "" && !strings.Contains(word, unknown) }

// call is a program that something calls.
type call struct{ where, program string }

// calls gathers what is called.
type calls []call

// runners are programs that run the one that stands among their own words.
var runners = strings.Fields("command env exec nice nsenter setpriv unshare xargs")

// command takes a command by its words: the program, and what it runs in turn.
func (c *calls) command(t *testing.T, where string, words []string) {
	t.Helper()
	if len(words) == 0 || !isKnown(words[0]) {
		return
	}
	name, rest := path.Base(words[0]), words[1:]
	*c = append(*c, call{where, name})
	isOption := func(word string) bool { return strings.HasPrefix(word, "-") || strings.Contains(word, "=") }
	switch {
	case slices.Contains(runners, name):
		from := slices.Index(rest, "--") + 1
		if from == 0 {
			from = slices.IndexFunc(rest, func(word string) bool { return !isOption(word) })
		}
		if from >= 0 {
			c.command(t, where, rest[from:])
		}
	case name == "sh" || name == "bash":
		for i, word := range rest {
			if isOption(word) && strings.HasSuffix(word, "c") && i+1 < len(rest) {
				c.script(t, where, rest[i+1])
			}
		}
	}
}

// builtins are what the shell does itself, among what the scripts here say.
var builtins = strings.Fields(": . [ cd command continue declare echo exec exit export false kill local printf read return set shift test trap true unset wait")

// script takes every command of a shell script.
func (c *calls) script(t *testing.T, where, text string) {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader(text), where)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, text)
		return
	}
	functions := map[string]bool{}
	syntax.Walk(file, func(node syntax.Node) bool {
		if f, ok := node.(*syntax.FuncDecl); ok {
			functions[f.Name.Value] = true
		}
		return true
	})
	var all calls
	syntax.Walk(file, func(node syntax.Node) bool {
		if command, ok := node.(*syntax.CallExpr); ok {
			var words []string
			for _, word := range command.Args {
				words = append(words, textOf(word.Parts))
			}
			all.command(t, where, words)
		}
		return true
	})
	for _, call := range all {
		if !functions[call.program] && !slices.Contains(builtins, call.program) {
			*c = append(*c, call)
		}
	}
}

func textOf(parts []syntax.WordPart) string {
	text := ""
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			text += p.Value
		case *syntax.SglQuoted:
			text += p.Value
		case *syntax.DblQuoted:
			text += textOf(p.Parts)
		default:
			text += unknown
		}
	}
	return text
}

// installed returns the packages that a script has apt-get install.
func installed(t *testing.T, text string) (packages []string) {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil {
		t.Fatal(err)
	}
	arrays := map[string][]string{}
	syntax.Walk(file, func(node syntax.Node) bool {
		switch n := node.(type) {
		case *syntax.Assign:
			if n.Array != nil {
				for _, element := range n.Array.Elems {
					arrays[n.Name.Value] = append(arrays[n.Name.Value], textOf(element.Value.Parts))
				}
			}
		case *syntax.CallExpr:
			if len(n.Args) == 0 || textOf(n.Args[0].Parts) != "apt-get" {
				return true
			}
			var words []string
			for _, word := range n.Args[1:] {
				words = append(words, expand(word, arrays)...)
			}
			if at := slices.Index(words, "install"); at >= 0 {
				packages = append(packages, words[at+1:]...)
			}
		}
		return true
	})
	release := false
	return slices.DeleteFunc(packages, func(word string) bool {
		after := release
		release = word == "-t"
		return after || strings.HasPrefix(word, "-") || !isKnown(word)
	})
}

// expand returns the elements of "${array[@]}", and the text of any other word.
func expand(word *syntax.Word, arrays map[string][]string) []string {
	if quoted, ok := word.Parts[0].(*syntax.DblQuoted); ok && len(quoted.Parts) == 1 {
		if p, ok := quoted.Parts[0].(*syntax.ParamExp); ok {
			if elements, ok := arrays[p.Param.Value]; ok {
				return elements
			}
		}
	}
	return []string{textOf(word.Parts)}
}
