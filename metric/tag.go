package metric

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTagLength is Datadog's limit for the length of a tag with its key, in characters.
const MaxTagLength = 200

// NoValue is the value of a tag if the value is not known.
const NoValue = "n/a"

// CheckTag checks a tag that a person wrote by Datadog's rules: a letter first, then letters, digits and _ - : . / up to 200
// characters.
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

// AppendTag appends "key:value" to b. It makes the value valid, as a receiver would store it: lower case, one underscore for
// each run of other characters, no underscore and no colon at the end, and the whole tag at most 200 bytes. So values that
// differ only in this become equal. If nothing of the value is left, it becomes NoValue. The key is not changed.
func AppendTag(b []byte, key, value string) []byte {
	end := len(b) + MaxTagLength
	b = append(append(b, key...), ':')
	start := len(b)
	value = value[:min(len(value), 4*MaxTagLength)]
	gap := false // an underscore must come before the next character
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

// AllTags returns the tags of socktally's process together with those of a sample, for a sink. A tag of the sample replaces
// the tags of the process with the same key. Metrics of flows and DNS never have the service and the version of the process:
// they would be taken for those of the flow's owner.
func AllTags(process []string, s Sample) []string {
	if len(s.Tags) == 0 && !isFlowMetric(s.Name) {
		return process
	}
	all := make([]string, 0, len(process)+len(s.Tags))
	for _, tag := range process {
		key, _, _ := strings.Cut(tag, ":")
		hidden := isFlowMetric(s.Name) && (key == "service" || key == "version")
		if !hidden && !slices.ContainsFunc(s.Tags, func(sampleTag string) bool {
			return strings.HasPrefix(sampleTag, key) && (len(sampleTag) == len(key) || sampleTag[len(key)] == ':')
		}) {
			all = append(all, tag)
		}
	}
	return append(all, s.Tags...)
}
