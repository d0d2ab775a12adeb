package query

import (
	"fmt"
	"strings"
)

// Limits of a text. 8 KiB have room for a hundred terms of usual length.
const (
	maxBytes = 8 << 10
	maxDepth = 32
	maxTerms = 256
)

// The terms that are written like a call.
const (
	cidrCall = "CIDR"
	likeCall = "LIKE"
)

// Parse turns a filter into its tree. This is the grammar, with the operator that binds most closely first:
//
//	term    name:value  name:"value"  name:(values)  CIDR(name, network, ...)  LIKE(name, "pattern")  (filter)
//	not     NOT term  -term
//	and     a AND b   a b
//	or      a OR b
//
// In (values) the same operators connect values instead of terms. In a value, * stands for any text and ? for any one
// character. In quotation marks they are plain characters, except in LIKE, and \ makes the next character a plain one.
// An error begins with its position in the text, counted from 1. The tree has only names of the kind, and only values
// that their fields can have.
func (k Kind) Parse(text string) (Node, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%d bytes long: want %d at most", len(text), maxBytes)
	}
	p := &parser{kind: k, text: text}
	p.next()
	found, err := p.or(nil, 0)
	if err == nil && p.token.kind != atEnd {
		err = p.unexpected("AND, OR or the end")
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

type parser struct {
	kind  Kind
	text  string
	pos   int
	token token
	terms int
}

func (p *parser) fail(at int, format string, args ...any) error {
	return fmt.Errorf("at %d: %w", at+1, fmt.Errorf(format, args...))
}

func (p *parser) unexpected(want string) error {
	switch {
	case p.token.err != nil:
		return p.token.err
	case p.token.kind == atEnd:
		return p.fail(p.token.at, "the text ends: want %s", want)
	}
	return p.fail(p.token.at, "unexpected %q: want %s", p.token.raw, want)
}

// or reads terms with OR between them. Inside of name:( ), of is the field for all values.
func (p *parser) or(of *Field, depth int) (Node, error) {
	if depth > maxDepth {
		return nil, p.fail(p.token.at, "more than %d levels of parentheses and NOT", maxDepth)
	}
	first, err := p.and(of, depth)
	all := Or{first}
	for err == nil && p.token.kind == keywordOr {
		p.next()
		var n Node
		n, err = p.and(of, depth)
		all = append(all, n)
	}
	if err != nil || len(all) == 1 {
		return first, err
	}
	return all, nil
}

func (p *parser) and(of *Field, depth int) (Node, error) {
	first, err := p.not(of, depth)
	all := And{first}
	for err == nil {
		switch p.token.kind {
		case keywordAnd:
			p.next()
		case word, opening, minus, keywordNot:
		default:
			if len(all) == 1 {
				return first, nil
			}
			return all, nil
		}
		var n Node
		n, err = p.not(of, depth)
		all = append(all, n)
	}
	return nil, err
}

func (p *parser) not(of *Field, depth int) (Node, error) {
	if p.token.kind != keywordNot && p.token.kind != minus {
		return p.term(of, depth)
	}
	if depth > maxDepth {
		return nil, p.fail(p.token.at, "more than %d levels of parentheses and NOT", maxDepth)
	}
	p.next()
	n, err := p.not(of, depth+1)
	return Not{n}, err
}

func (p *parser) term(of *Field, depth int) (Node, error) {
	t := p.token
	switch {
	case t.kind == opening:
		return p.parentheses(of, depth)
	case t.kind != word || t.err != nil:
		return nil, p.unexpected(wantTerm(of))
	}
	if p.terms++; p.terms > maxTerms {
		return nil, p.fail(t.at, "more than %d terms", maxTerms)
	}
	p.next()
	if of != nil {
		if t.hasName { // the value has a colon too, as an IPv6 address has
			t.value = t.name + ":" + t.value
		}
		return p.match(t, of)
	}
	if !t.hasName {
		if p.token.kind == opening && t.raw == cidrCall {
			return p.cidr()
		}
		if p.token.kind == opening && t.raw == likeCall {
			return p.like()
		}
		return nil, p.fail(t.at, "unexpected %q: want %s", t.raw, wantTerm(nil))
	}
	f, err := p.kind.Field(t.name)
	if err != nil {
		return nil, p.fail(t.at, "%w", err)
	}
	if t.value == "" && !t.quoted && p.token.kind == opening && p.token.at == t.at+len(t.raw) {
		return p.parentheses(&f, depth)
	}
	return p.match(t, &f)
}

func wantTerm(of *Field) string {
	if of != nil {
		return "a value of " + of.Name
	}
	return "name:value, CIDR(...), NOT or ( (AND, OR and NOT in capitals)"
}

func (p *parser) match(t token, f *Field) (Node, error) {
	if !t.quoted && t.value != "" && strings.IndexByte("[<>", t.value[0]) >= 0 {
		return nil, p.fail(t.at, "%q is a range: want a value, or several as %s:(a OR b)", t.raw, f.Name)
	}
	found, err := f.match(t.value, !t.quoted)
	if err != nil {
		return nil, p.fail(t.at, "%w", err)
	}
	return found, nil
}

func (p *parser) parentheses(of *Field, depth int) (Node, error) {
	p.next()
	found, err := p.or(of, depth+1)
	if err != nil {
		return nil, err
	}
	if p.token.kind != closing {
		return nil, p.unexpected("AND, OR or )")
	}
	p.next()
	return found, nil
}

// arguments reads a comma list of words, at least one, up to the closing parenthesis.
func (p *parser) arguments(example string) ([]token, error) {
	var all []token
	for {
		p.next()
		if p.token.kind != word || p.token.err != nil {
			return nil, p.unexpected("an argument of " + example)
		}
		all = append(all, p.token)
		if p.next(); p.token.kind == closing {
			p.next()
			return all, nil
		}
		if p.token.kind != comma || p.token.err != nil {
			return nil, p.unexpected(", or )")
		}
	}
}

// cidr reads (name, network, ...).
func (p *parser) cidr() (Node, error) {
	at := p.token.at
	arguments, err := p.arguments("CIDR(network.client.ip, 10.0.0.0/8)")
	if err != nil {
		return nil, err
	}
	f, err := p.kind.Field(arguments[0].raw)
	if err != nil {
		return nil, p.fail(at, "%w", err)
	}
	if p.terms += len(arguments) - 1; p.terms > maxTerms {
		return nil, p.fail(at, "more than %d terms", maxTerms)
	}
	var networks []string
	for _, t := range arguments[1:] {
		networks = append(networks, t.raw)
	}
	found, err := f.within(networks)
	if err != nil {
		return nil, p.fail(at, "%w", err)
	}
	return found, nil
}

// like reads (name, "pattern").
func (p *parser) like() (Node, error) {
	const example = `LIKE(client_service, "a pattern*")`
	at := p.token.at
	arguments, err := p.arguments(example)
	if err != nil {
		return nil, err
	}
	f, err := p.kind.Field(arguments[0].raw)
	if err != nil {
		return nil, p.fail(at, "%w", err)
	}
	if len(arguments) != 2 || !arguments[1].quoted || arguments[1].hasName {
		return nil, p.fail(at, "LIKE of %s: want one pattern in quotation marks, as in %s", f.Name, example)
	}
	found, err := f.match(arguments[1].value, true)
	if err != nil {
		return nil, p.fail(at, "%w", err)
	}
	return found, nil
}
