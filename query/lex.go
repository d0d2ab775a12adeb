package query

import "strings"

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

// token is a part of the text. If a word has a colon outside of quotation marks, in its middle or at its end, then name is
// the part before the colon, and value the part after it.
type token struct {
	kind    tokenKind
	at      int
	raw     string
	name    string
	hasName bool
	value   string // the part after the name, or the whole word, without quotation marks
	quoted  bool   // the value was in quotation marks
	err     error
}

// next reads the next token. For a fault in the text it sets a token with err, which no rule of the grammar accepts.
func (p *parser) next() {
	for p.pos < len(p.text) && isSpace(p.text[p.pos]) {
		p.pos++
	}
	start := p.pos
	p.token = token{at: start}
	if start == len(p.text) {
		return
	}
	if i := strings.IndexByte("(),-", p.text[start]); i >= 0 {
		p.pos++
		p.token.kind, p.token.raw = [...]tokenKind{opening, closing, comma, minus}[i], p.text[start:p.pos]
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

// word reads one word. The word ends before a space, comma or parenthesis outside of quotation marks.
func (p *parser) word() {
	p.token.kind = word
	var b strings.Builder
	quoted := false
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case isSpace(c) || c == '(' || c == ')' || c == ',':
			p.token.value, p.token.quoted = b.String(), quoted
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
	p.token.value, p.token.quoted = b.String(), quoted
}

// quoted reads from one quotation mark to the next one without a \ before it.
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
