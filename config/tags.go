package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"socktally/metric"
)

// parseTags splits a list of tags at commas and spaces, as in DD_TAGS. It checks each tag by Datadog's rules: a letter first,
// then letters, digits and _ - : . / up to 200 characters.
func parseTags(list string) ([]string, error) {
	if i := strings.IndexFunc(list, unicode.IsControl); i >= 0 {
		control, _ := utf8.DecodeRuneInString(list[i:])
		return nil, fmt.Errorf("character %d is the control character %q", utf8.RuneCountInString(list[:i])+1, control)
	}
	tags := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	for _, tag := range tags {
		if err := metric.CheckTag(tag); err != nil {
			return nil, fmt.Errorf("tag %q %w", tag, err)
		}
	}
	return tags, nil
}

// mergeTags joins lists of tags. Each tag is in the result once.
func mergeTags(lists ...[]string) []string {
	var merged []string
	seen := map[string]bool{}
	for _, list := range lists {
		for _, tag := range list {
			if !seen[tag] {
				seen[tag] = true
				merged = append(merged, tag)
			}
		}
	}
	return merged
}
