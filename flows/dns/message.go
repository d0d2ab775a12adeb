package dns

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAddresses is how many addresses of one answer are read at most.
const maxAddresses = 16

// message is the part of a packet that is used here.
type message struct {
	id       uint16
	response bool
	rcode    dnsmessage.RCode
	name     string
	kind     string
	// answers are the addresses of the name.
	answers []answer
}

type answer struct {
	addr netip.Addr
	ttl  time.Duration
}

var (
	errOpcode   = errors.New("not a standard query")
	errQuestion = errors.New("not one question")
)

// parse reads a packet. The packet may be cut short after the question. Only packets with exactly one question are
// accepted: servers answer all others with an error.
func parse(packet []byte) (message, error) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil {
		return message{}, err
	}
	if header.OpCode != 0 {
		return message{}, errOpcode
	}
	question, err := p.Question()
	if err != nil {
		return message{}, err
	}
	if err := p.SkipQuestion(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return message{}, errQuestion
	}
	m := message{
		id:       header.ID,
		response: header.Response,
		rcode:    header.RCode,
		name:     plainName(question.Name),
		kind:     typeName(question.Type),
	}
	if m.response && m.rcode == dnsmessage.RCodeSuccess {
		m.answers = addresses(&p)
	}
	return m, nil
}

// addresses returns the addresses in the answer, up to the first record that cannot be read.
func addresses(p *dnsmessage.Parser) (found []answer) {
	for len(found) < maxAddresses {
		header, err := p.AnswerHeader()
		if err != nil {
			return found
		}
		ttl := time.Duration(header.TTL) * time.Second
		switch header.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return found
			}
			found = append(found, answer{netip.AddrFrom4(r.A), ttl})
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return found
			}
			found = append(found, answer{netip.AddrFrom16(r.AAAA).Unmap(), ttl})
		default:
			if err := p.SkipAnswer(); err != nil {
				return found
			}
		}
	}
	return found
}

// plainName is a name in lower case, without the last dot. Spaces, control characters, \, " and bytes that are not
// ASCII are written as \ddd. The root is ".".
func plainName(n dnsmessage.Name) string {
	raw := n.Data[:n.Length]
	if len(raw) > 1 {
		raw = raw[:len(raw)-1]
	}
	var b strings.Builder
	b.Grow(len(raw))
	for _, c := range raw {
		switch {
		case c >= 'A' && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case c <= ' ' || c >= 0x7f || c == '\\' || c == '"':
			b.Write([]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// typeName is the usual name of a query type, or TYPE and its number if the type is not known here.
func typeName(t dnsmessage.Type) string {
	switch t {
	case 43:
		return "DS"
	case 48:
		return "DNSKEY"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	case 257:
		return "CAA"
	}
	text := t.String()
	if name, ok := strings.CutPrefix(text, "Type"); ok {
		return name
	}
	return "TYPE" + text
}
