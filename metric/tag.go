package metric

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTagLength is Datadog's limit of a tag, its key included, in characters.
const MaxTagLength = 200

// NoValue is the value of a tag of which nothing is known.
const NoValue = "n/a"

// CheckTag says what about a tag that a person wrote is against Datadog's rules: a letter first, then
// letters, digits and _ - : . / up to 200 characters.
func CheckTag(tag string) error {
	if !utf8.ValidString(tag) {
		return errors.New("is not UTF-8")
	}
	if utf8.RuneCountInString(tag) > MaxTagLength {
		return fmt.Errorf("is longer than %d characters", MaxTagLength)
	}
	for i, r := range tag {
		if i == 0 && !unicode.IsLetter(r) {
			return errors.New("does not begin with a letter")
		}
		if !isTagRune(r) {
			return fmt.Errorf("holds %q", r)
		}
	}
	return nil
}

func isTagRune(r rune) bool {
	switch r {
	case '_', '-', ':', '.', '/':
		return true
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

// AppendTag appends "key:value" to b, with the value as a receiver would store it, whoever wrote it:
// in lower case, what is not allowed as one underscore, no more than 200 bytes, no underscore or colon
// at its end. Values that differ in that alone become one. A value of which nothing is left becomes
// NoValue. The key is taken as it is.
func AppendTag(b []byte, key, value string) []byte {
	end := len(b) + MaxTagLength
	b = append(append(b, key...), ':')
	start := len(b)
	value = value[:min(len(value), 4*MaxTagLength)]
	gap := false // an underscore is due
	for _, r := range value {
		r = unicode.ToLower(r)
		if r == '_' || !isTagRune(r) {
			gap = true
			continue
		}
		size := utf8.RuneLen(r)
		if gap {
			size++
		}
		if len(b)+size > end {
			break
		}
		if gap {
			b = append(b, '_')
			gap = false
		}
		b = utf8.AppendRune(b, r)
	}
	for len(b) > start && (b[len(b)-1] == ':' || b[len(b)-1] == '_') {
		b = b[:len(b)-1]
	}
	if len(b) == start {
		b = append(b, NoValue...)
	}
	return b
}

// AllTags returns the tags of a sample under those of the process that sends it, which a sink adds.
// A tag of the sample stands in for the process's tags of the same key. The service and the version
// of the process are never on a metric of flows or DNS, where they would pass for those of the flow's owner.
func AllTags(process []string, s Sample) []string {
	if len(s.Tags) == 0 && !isFlowMetric(s.Name) {
		return process
	}
	all := make([]string, 0, len(process)+len(s.Tags))
	for _, tag := range process {
		key, _, _ := strings.Cut(tag, ":")
		hidden := isFlowMetric(s.Name) && (key == "service" || key == "version")
		if !hidden && !slices.ContainsFunc(s.Tags, func(own string) bool {
			return strings.HasPrefix(own, key) && (len(own) == len(key) || own[len(key)] == ':')
		}) {
			all = append(all, tag)
		}
	}
	return append(all, s.Tags...)
}
