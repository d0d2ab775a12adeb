package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// predicate says whether a record is wanted. It allocates nothing.
type predicate func(*view) bool

// pattern is a value to look for, of which * stands for any text and ? for any one character,
// unless it is literal. Letters of either case are the same.
type pattern struct {
	text    string
	literal bool
}

func (p pattern) wild() bool { return !p.literal && strings.ContainsAny(p.text, "*?") }

// matching returns what finds records of which a value of the field is p. Of a field that is not
// resolved, only N/A is a value, and * does not stand for that.
func (f *field) matching(p pattern) (predicate, error) {
	if p.text == "" {
		return nil, fmt.Errorf("%s has no value: want %s:value, or %s:%s for what is not resolved", f.name, f.name, f.name, unresolved)
	}
	none := strings.EqualFold(p.text, unresolved)
	switch {
	case f.text != nil:
		return func(v *view) bool {
			text := f.text(v)
			return none && text == "" || text != "" && matches(p, text)
		}, nil
	case f.addr != nil:
		return f.matchingAddr(p, none)
	case f.number != nil:
		return f.matchingNumber(p, none)
	}
	return func(v *view) bool {
		some := false
		for _, tag := range f.owner(v).Tags {
			value := tagValue(tag, f.tagKey)
			if value != "" && matches(p, value) {
				return true
			}
			some = some || value != ""
		}
		return none && !some
	}, nil
}

func (f *field) matchingAddr(p pattern, none bool) (predicate, error) {
	if none {
		return func(v *view) bool { return !f.addr(v).IsValid() }, nil
	}
	if p.wild() {
		return func(v *view) bool {
			var room [64]byte
			addr := f.addr(v)
			return addr.IsValid() && matches(p, addr.AppendTo(room[:0]))
		}, nil
	}
	want, err := netip.ParseAddr(p.text)
	if err != nil {
		return nil, fmt.Errorf("%s:%s is no address: want one such as 10.0.0.1 or 10.0.*, or CIDR(%s, 10.0.0.0/8)", f.name, p.text, f.name)
	}
	return func(v *view) bool { return f.addr(v) == want }, nil
}

func (f *field) matchingNumber(p pattern, none bool) (predicate, error) {
	if none {
		return func(v *view) bool { return f.number(v) == 0 }, nil
	}
	if p.wild() {
		return func(v *view) bool {
			var room [20]byte
			n := f.number(v)
			return n != 0 && matches(p, strconv.AppendUint(room[:0], n, 10))
		}, nil
	}
	want, err := strconv.ParseUint(p.text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%s:%s is no number: want one such as 443, or 80*", f.name, p.text)
	}
	return func(v *view) bool { return f.number(v) == want }, nil
}

// within returns what finds records of which the field's address is in one of the networks.
func (f *field) within(networks []string) (predicate, error) {
	if f.addr == nil {
		return nil, fmt.Errorf("CIDR of %s: want network.client.ip or network.server.ip", f.name)
	}
	if len(networks) == 0 {
		return nil, errors.New("CIDR without a network: want one or more such as 10.0.0.0/8")
	}
	var prefixes []netip.Prefix
	for _, text := range networks {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is no network: want one such as 10.0.0.0/8 or 2001:db8::/32", text)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return func(v *view) bool {
		addr := f.addr(v)
		for _, p := range prefixes {
			if p.Contains(addr) {
				return true
			}
		}
		return false
	}, nil
}

// matches says whether the whole of s is as the pattern has it. On a mismatch it goes back to the last
// star only, which is enough, so that its time is bounded by the product of the two lengths.
func matches[T string | []byte](p pattern, s T) bool {
	star, retry := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p.text) && !p.literal && p.text[i] == '*':
			star, retry = i, j
			i++
		case i < len(p.text) && (!p.literal && p.text[i] == '?' || lower(p.text[i]) == lower(s[j])):
			i++
			j++
		case star >= 0:
			retry++
			i, j = star+1, retry
		default:
			return false
		}
	}
	for i < len(p.text) && !p.literal && p.text[i] == '*' {
		i++
	}
	return i == len(p.text)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
