package query

import (
	"net/netip"
	"strings"
)

// Node is a filter, or a part of one: And, Or, Not, Equal, Like or Within. If a Kind has parsed the tree, the same Kind
// parses the text of String to the same tree, unless that text is too long.
type Node interface {
	String() string
	// bind is how closely the operator of the node binds. A node inside of another one needs parentheses, unless it
	// binds more closely than the outer one.
	bind() int
}

// And matches if all of its nodes match. It has at least two.
type And []Node

// Or matches if at least one of its nodes matches. It has at least two.
type Or []Node

// Not matches if its node does not match.
type Not struct{ Node Node }

// Equal matches if a value of the field is Value. Addresses and numbers are compared as addresses and numbers. In other
// values the case of ASCII letters does not matter. If Value is Unresolved, it also matches a field without a value.
type Equal struct {
	Name  string // of the field
	Value string // not empty
}

// Like matches if the text of a value of the field matches Pattern. In Pattern, * stands for any text and ? for any one
// byte. The case of ASCII letters does not matter. A field without a value does not match.
type Like struct {
	Name    string // of the field
	Pattern string // has * or ?
}

// Within matches if the field, an address, is in one of the networks.
type Within struct {
	Name     string         // of the field
	Networks []netip.Prefix // one or more, none with bits beyond its length
}

const (
	bindOr = iota
	bindAnd
	bindNot
	bindTerm
)

func (Or) bind() int     { return bindOr }
func (And) bind() int    { return bindAnd }
func (Not) bind() int    { return bindNot }
func (Equal) bind() int  { return bindTerm }
func (Like) bind() int   { return bindTerm }
func (Within) bind() int { return bindTerm }

func (n Or) String() string  { return join(n, " OR ", bindOr) }
func (n And) String() string { return join(n, " AND ", bindAnd) }

func (n Not) String() string {
	if n.Node.bind() < bindNot {
		return "NOT (" + n.Node.String() + ")"
	}
	return "NOT " + n.Node.String()
}

func (n Equal) String() string {
	if isPlain(n.Value) {
		return n.Name + ":" + n.Value
	}
	return n.Name + ":" + quote(n.Value)
}

func (n Like) String() string {
	if isPlain(strings.NewReplacer("*", "", "?", "").Replace(n.Pattern)) {
		return n.Name + ":" + n.Pattern
	}
	return likeCall + "(" + n.Name + ", " + quote(n.Pattern) + ")"
}

func (n Within) String() string {
	var b strings.Builder
	b.WriteString(cidrCall + "(" + n.Name)
	for _, network := range n.Networks {
		b.WriteString(", " + network.String())
	}
	return b.String() + ")"
}

// join writes the nodes with the operator between them. A node with the same operator is also put in parentheses, so
// that parsing does not merge it with the outer one.
func join(nodes []Node, operator string, bind int) string {
	var b strings.Builder
	for i, n := range nodes {
		if i > 0 {
			b.WriteString(operator)
		}
		if n.bind() <= bind {
			b.WriteString("(" + n.String() + ")")
		} else {
			b.WriteString(n.String())
		}
	}
	return b.String()
}

// isPlain says whether a value is written without quotation marks. It is strict: some values that do not need quotation
// marks get them too.
func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_./:-", r))
	})
}

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
