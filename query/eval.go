package query

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Predicate says whether a row is wanted. It allocates nothing.
type Predicate func(*Row) bool

// Compile turns a tree into a function, once for all rows of a question. It fails if the tree has a name that the kind
// does not have, or a value that the field cannot have. It does not fail for a tree that the same kind has parsed.
func (k Kind) Compile(n Node) (Predicate, error) {
	switch n := n.(type) {
	case And:
		all, err := k.compileAll(n)
		return func(r *Row) bool {
			for _, p := range all {
				if !p(r) {
					return false
				}
			}
			return true
		}, err
	case Or:
		all, err := k.compileAll(n)
		return func(r *Row) bool { return anyOf(all, r) }, err
	case Not:
		p, err := k.Compile(n.Node)
		return func(r *Row) bool { return !p(r) }, err
	case Equal:
		f, err := k.Field(n.Name)
		if err != nil {
			return nil, err
		}
		return f.equal(n.Value)
	case Like:
		f, err := k.Field(n.Name)
		return f.like(n.Pattern), err
	case Within:
		f, err := k.Field(n.Name)
		if err == nil {
			err = f.checkAddress()
		}
		return f.in(n.Networks), err
	}
	return nil, fmt.Errorf("compile a filter: no node is a %T", n)
}

func (k Kind) compileAll(nodes []Node) ([]Predicate, error) {
	all := make([]Predicate, len(nodes))
	for i, n := range nodes {
		var err error
		if all[i], err = k.Compile(n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func anyOf(all []Predicate, r *Row) bool {
	for _, p := range all {
		if p(r) {
			return true
		}
	}
	return false
}

// equal returns the predicate for rows in which the field has the given value.
func (f *Field) equal(value string) (Predicate, error) {
	none := isUnresolved(value)
	switch f.Type {
	case Address:
		return f.equalAddress(value, none)
	case Number:
		return f.equalNumber(value, none)
	case Tag:
		tagged := f.tagged(func(s string) bool { return sameText(s, value) }, none)
		return tagged, nil
	}
	text := f.textOf()
	return func(r *Row) bool {
		s := text(r)
		return s != "" && sameText(s, value) || none && s == ""
	}, nil
}

func (f *Field) equalAddress(value string, none bool) (Predicate, error) {
	address := f.addressOf()
	if none {
		return func(r *Row) bool { return !address(r).IsValid() }, nil
	}
	want, err := f.address(value)
	return func(r *Row) bool { return address(r) == want }, err
}

func (f *Field) equalNumber(value string, none bool) (Predicate, error) {
	number := f.numberOf()
	if none {
		return func(r *Row) bool { return number(r) == 0 }, nil
	}
	want, err := f.number(value)
	return func(r *Row) bool { return number(r) == want }, err
}

// like returns the predicate for rows in which a value of the field matches the pattern. A field without a value does
// not match.
func (f *Field) like(pattern string) Predicate {
	switch f.Type {
	case Address:
		address := f.addressOf()
		return func(r *Row) bool {
			var room [64]byte
			addr := address(r)
			return addr.IsValid() && matches(pattern, addr.AppendTo(room[:0]))
		}
	case Number:
		number := f.numberOf()
		return func(r *Row) bool {
			var room [20]byte
			n := number(r)
			return n != 0 && matches(pattern, strconv.AppendUint(room[:0], n, 10))
		}
	case Tag:
		return f.tagged(func(s string) bool { return matches(pattern, s) }, false)
	}
	text := f.textOf()
	return func(r *Row) bool {
		s := text(r)
		return s != "" && matches(pattern, s)
	}
}

// tagged returns the predicate for rows with a tag that has the field's key and a wanted value. If none is true, rows
// without such a tag match too.
func (f *Field) tagged(wanted func(value string) bool, none bool) Predicate {
	tags, key := f.tagsOf(), f.Key
	return func(r *Row) bool {
		some := false
		for _, tag := range tags(r) {
			value := tagValue(tag, key)
			if value != "" && wanted(value) {
				return true
			}
			some = some || value != ""
		}
		return none && !some
	}
}

// in returns the predicate for rows whose address is in one of the networks.
func (f *Field) in(networks []netip.Prefix) Predicate {
	address := f.addressOf()
	return func(r *Row) bool {
		addr := address(r)
		for _, n := range networks {
			if n.Contains(addr) {
				return true
			}
		}
		return false
	}
}

// sameText says whether two texts are the same, or differ only in the case of ASCII letters.
func sameText(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// matches says whether the whole of s matches the pattern. After a mismatch it goes back only to the last star. That is
// enough, and it limits the time to the product of the two lengths.
func matches[T string | []byte](pattern string, s T) bool {
	star, retry := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, retry = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || lower(pattern[i]) == lower(s[j])):
			i++
			j++
		case star >= 0:
			retry++
			i, j = star+1, retry
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
