package query

import (
	"fmt"
	"slices"
	"strings"
)

// ParseTags turns a comma list of name:value into its tree. For each name in the list, one of its values must match. In
// a value, * stands for any text and ? for any one character.
func (k Kind) ParseTags(list string) (Node, error) {
	if len(list) > maxBytes {
		return nil, fmt.Errorf("%d bytes long: want %d at most", len(list), maxBytes)
	}
	var names []string
	var values []Or // of each of the names
	n := 0
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		name, value, ok := strings.Cut(tag, ":")
		if !ok {
			return nil, fmt.Errorf("%q has no value: want a comma list of name:value, of which value may end in *", tag)
		}
		f, err := k.Field(name)
		if err != nil {
			return nil, err
		}
		match, err := f.match(value, true)
		if err != nil {
			return nil, err
		}
		if n++; n > maxTerms {
			return nil, fmt.Errorf("more than %d tags", maxTerms)
		}
		i := slices.Index(names, name)
		if i < 0 {
			i = len(names)
			names, values = append(names, name), append(values, nil)
		}
		values[i] = append(values[i], match)
	}
	var all And
	for _, of := range values {
		if len(of) == 1 {
			all = append(all, of[0])
		} else {
			all = append(all, of)
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}
