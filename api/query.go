package api

import (
	"fmt"
	"strings"
)

// Bounds of a query. A line of 8 KiB holds a hundred terms that a person could read.
const (
	maxQuery = 8 << 10
	maxDepth = 32
	maxTerms = 256
)

// parseQuery turns a filter into a predicate. Its grammar, with the tightest first:
//
//	term    name:value  name:"value"  name:(values)  CIDR(name, network, ...)  (filter)
//	not     NOT term  -term
//	and     a AND b   a b
//	or      a OR b
//
// where values are the same with values in place of terms. In quotation marks * and ? mean
// themselves, and \ takes what follows as it is. Errors begin with where in the text they are, counted
// from 1.
func (f fields) parseQuery(text string) (predicate, error) {
	if len(text) > maxQuery {
		return nil, fmt.Errorf("%d bytes long: want %d at most", len(text), maxQuery)
	}
	p := &parser{fields: f, text: text}
	p.next()
	found, err := p.or(nil, 0)
	if err == nil && p.token.kind != atEnd {
		err = p.unexpected("AND, OR or the end")
	}
	return found, err
}

type tokenKind uint8

const (
	atEnd tokenKind = iota
	word            // a name, a value, or name:
	opening
	closing
	comma
	minus
	keywordAnd
	keywordOr
	keywordNot
)

// token is a part of the text. A word that ends with an unquoted colon, or has one in its middle, is
// cut there: name is what stands before it.
type token struct {
	kind    tokenKind
	at      int
	raw     string
	name    string
	hasName bool
	value   pattern
	err     error
}

type parser struct {
	fields fields
	text   string
	pos    int
	token  token
	terms  int
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

// next reads the next token. Of a fault it makes a token that nothing expects.
func (p *parser) next() {
	for p.pos < len(p.text) && isSpace(p.text[p.pos]) {
		p.pos++
	}
	start := p.pos
	p.token = token{at: start}
	if start == len(p.text) {
		return
	}
	single := map[byte]tokenKind{'(': opening, ')': closing, ',': comma, '-': minus}
	if kind, ok := single[p.text[start]]; ok {
		p.pos++
		p.token.kind, p.token.raw = kind, p.text[start:p.pos]
		return
	}
	p.word()
	p.token.raw = p.text[start:p.pos]
	switch p.token.raw {
	case "AND":
		p.token.kind = keywordAnd
	case "OR":
		p.token.kind = keywordOr
	case "NOT":
		p.token.kind = keywordNot
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// word reads one word, up to a space, comma or parenthesis that is not quoted.
func (p *parser) word() {
	p.token.kind = word
	var b strings.Builder
	quoted := false
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case isSpace(c) || c == '(' || c == ')' || c == ',':
			p.token.value = pattern{b.String(), quoted}
			return
		case c == ':' && !p.token.hasName && !quoted && couldBeName(b.String()):
			p.token.name, p.token.hasName = b.String(), true
			b.Reset()
			p.pos++
		case c == '"' && b.Len() == 0 && !quoted:
			text, ok := p.quoted()
			if !ok {
				p.token.err = p.fail(p.pos, "the quotation does not end: want \" after it")
				p.token.kind, p.pos = comma, len(p.text)
				return
			}
			b.WriteString(text)
			quoted = true
		case quoted || c == '"':
			p.token.err = p.fail(p.pos, "unexpected %q beside a quotation: want a space", c)
			p.token.kind, p.pos = comma, len(p.text)
			return
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	p.token.value = pattern{b.String(), quoted}
}

// quoted reads from one quotation mark to the next that no \ precedes.
func (p *parser) quoted() (string, bool) {
	var b strings.Builder
	for i := p.pos + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.pos = i + 1
			return b.String(), true
		case c == '\\' && i+1 < len(p.text):
			i++
			b.WriteByte(p.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// or reads alternatives. Inside name:( ), of is the field that every value is of.
func (p *parser) or(of *field, depth int) (predicate, error) {
	if depth > maxDepth {
		return nil, p.fail(p.token.at, "more than %d levels of parentheses and NOT", maxDepth)
	}
	left, err := p.and(of, depth)
	for err == nil && p.token.kind == keywordOr {
		p.next()
		a := left
		var b predicate
		if b, err = p.and(of, depth); err == nil {
			left = func(v *view) bool { return a(v) || b(v) }
		}
	}
	return left, err
}

func (p *parser) and(of *field, depth int) (predicate, error) {
	left, err := p.not(of, depth)
	for err == nil {
		switch p.token.kind {
		case keywordAnd:
			p.next()
		case word, opening, minus, keywordNot:
		default:
			return left, nil
		}
		a := left
		var b predicate
		if b, err = p.not(of, depth); err == nil {
			left = func(v *view) bool { return a(v) && b(v) }
		}
	}
	return nil, err
}

func (p *parser) not(of *field, depth int) (predicate, error) {
	if p.token.kind != keywordNot && p.token.kind != minus {
		return p.term(of, depth)
	}
	if depth > maxDepth {
		return nil, p.fail(p.token.at, "more than %d levels of parentheses and NOT", maxDepth)
	}
	p.next()
	a, err := p.not(of, depth+1)
	if err != nil {
		return nil, err
	}
	return func(v *view) bool { return !a(v) }, nil
}

func (p *parser) term(of *field, depth int) (predicate, error) {
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
		if t.hasName { // of an address, say
			t.value.text = t.name + ":" + t.value.text
		}
		return p.match(t, of)
	}
	if !t.hasName {
		if t.raw == "CIDR" && p.token.kind == opening {
			return p.cidr()
		}
		return nil, p.fail(t.at, "unexpected %q: want %s", t.raw, wantTerm(nil))
	}
	f, err := p.fields.named(t.name)
	if err != nil {
		return nil, p.fail(t.at, "%w", err)
	}
	if t.value.text == "" && !t.value.literal && p.token.kind == opening && p.token.at == t.at+len(t.raw) {
		return p.parentheses(&f, depth)
	}
	return p.match(t, &f)
}

func wantTerm(of *field) string {
	if of != nil {
		return "a value of " + of.name
	}
	return "name:value, CIDR(...), NOT or ( (AND, OR and NOT in capitals)"
}

func (p *parser) match(t token, f *field) (predicate, error) {
	if !t.value.literal && strings.HasPrefix(t.value.text, "[") || strings.IndexAny(t.value.text, "<>") == 0 {
		return nil, p.fail(t.at, "%q is a range: want a value, or several as %s:(a OR b)", t.raw, f.name)
	}
	found, err := f.matching(t.value)
	if err != nil {
		return nil, p.fail(t.at, "%w", err)
	}
	return found, nil
}

func (p *parser) parentheses(of *field, depth int) (predicate, error) {
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

// cidr reads (name, network, ...).
func (p *parser) cidr() (predicate, error) {
	at := p.token.at
	var arguments []string
	for {
		p.next()
		if p.token.kind != word || p.token.err != nil {
			return nil, p.unexpected("an argument of CIDR(network.client.ip, 10.0.0.0/8)")
		}
		arguments = append(arguments, p.token.raw)
		if p.next(); p.token.kind == closing {
			break
		}
		if p.token.kind != comma || p.token.err != nil {
			return nil, p.unexpected(", or )")
		}
	}
	p.next()
	f, err := p.fields.named(arguments[0])
	if err != nil {
		return nil, p.fail(at, "%w", err)
	}
	if p.terms += len(arguments) - 1; p.terms > maxTerms {
		return nil, p.fail(at, "more than %d terms", maxTerms)
	}
	found, err := f.within(arguments[1:])
	if err != nil {
		return nil, p.fail(at, "%w", err)
	}
	return found, nil
}

// parseTags turns a comma list of name:value into a predicate: of each name that is in it, one of the
// values has to match.
func (f fields) parseTags(list string) (predicate, error) {
	if len(list) > maxQuery {
		return nil, fmt.Errorf("%d bytes long: want %d at most", len(list), maxQuery)
	}
	var names []string
	values := map[string][]predicate{}
	n := 0
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		name, value, ok := strings.Cut(tag, ":")
		if !ok {
			return nil, fmt.Errorf("%q has no value: want a comma list of name:value, of which value may end in *", tag)
		}
		found, err := f.named(name)
		if err != nil {
			return nil, err
		}
		match, err := found.matching(pattern{text: value})
		if err != nil {
			return nil, err
		}
		if n++; n > maxTerms {
			return nil, fmt.Errorf("more than %d tags", maxTerms)
		}
		if values[name] == nil {
			names = append(names, name)
		}
		values[name] = append(values[name], match)
	}
	return func(v *view) bool {
		for _, name := range names {
			if !anyOf(values[name], v) {
				return false
			}
		}
		return true
	}, nil
}

func anyOf(all []predicate, v *view) bool {
	for _, p := range all {
		if p(v) {
			return true
		}
	}
	return false
}
