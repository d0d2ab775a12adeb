package query

import (
	"net/netip"
	"strings"
)

// Node is a filter, or a part of one: And, Or, Not, Equal, Like or Within. The String of what a Kind has
// parsed is a text that the same Kind parses to the same tree, if it is not longer than a text may be.
type Node interface {
	String() string
	// bind is how closely the text of the node holds together: one inside another needs parentheses if it
	// does not do so more closely.
	bind() int
}

// And holds where every one of its nodes does. There are two of them or more.
type And []Node

// Or holds where one or more of its nodes do. There are two of them or more.
type Or []Node

// Not holds where its node does not.
type Not struct{ Node Node }

// Equal holds where a value of the field is Value. Addresses and numbers are compared as such, of all others
// ASCII letters of either case are the same. Unresolved as Value also holds where the field has no value.
type Equal struct {
	Name  string // of the field
	Value string // not empty
}

// Like holds where a value of the field, as it is written, is as Pattern has it: * stands for any text, ? for
// any one byte, and ASCII letters of either case are the same. It does not hold where the field has no value.
type Like struct {
	Name    string // of the field
	Pattern string // has * or ?
}

// Within holds where the field, an address, is in one of the networks.
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

// join writes the nodes with the operator between. A node of the same operator stands in parentheses too, so
// that it stays a node of its own.
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

// isPlain says whether a value needs no quotation marks. Some that would need none are quoted too.
func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_./:-", r))
	})
}

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
