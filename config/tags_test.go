package config

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"socktally/metric"
)

func TestLoadTags(t *testing.T) {
	tests := []struct {
		name string
		env  environment
		want []string
	}{
		{"none", environment{}, nil},
		{"empty members", environment{"DD_TAGS": " ,a:b,, c ", "SOCKTALLY_TAGS": ","}, []string{"a:b", "c"}},
		{"letters of every script", environment{"DD_TAGS": "größe:2,役:主"}, []string{"größe:2", "役:主"}},
		{"200 characters", environment{"DD_TAGS": strings.Repeat("é", 200)}, []string{strings.Repeat("é", 200)}},
		{"merged once each", environment{"DD_TAGS": "a:1,b:1,a:1", "SOCKTALLY_TAGS": "b:1,c:1,a:2"}, []string{"a:1", "b:1", "c:1", "a:2"}},
		{
			"a variable of its own wins over the lists",
			environment{"DD_ENV": "prod", "DD_SERVICE": "db", "DD_VERSION": "1.2", "DD_TAGS": "env:dev,environment:x,service", "SOCKTALLY_TAGS": "version:3,a:b"},
			[]string{"env:prod", "service:db", "version:1.2", "environment:x", "a:b"},
		},
		{"env in a list alone", environment{"DD_TAGS": "env:dev"}, []string{"env:dev"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := Load(test.env.Lookup)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(cfg.Tags, test.want) {
				t.Errorf("got %q, want %q", cfg.Tags, test.want)
			}
		})
	}
}

// FuzzParseTags checks that no accepted tag breaks a DogStatsD line or Datadog's rules.
func FuzzParseTags(f *testing.F) {
	for _, list := range []string{"", "a:b", "a:b,c d", ",, ,", "a\nb", "1a", "a|b", "a:#", "é:ü", "\xff", "a:\u0085", "a\u00a0b", strings.Repeat("x", 201)} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		tags, err := parseTags(list)
		if err != nil && len(tags) > 0 {
			t.Errorf("both tags and an error: %q, %v", tags, err)
		}
		for _, tag := range tags {
			first, _ := utf8.DecodeRuneInString(tag)
			switch {
			case !utf8.ValidString(tag), !unicode.IsLetter(first), utf8.RuneCountInString(tag) > metric.MaxTagLength,
				strings.ContainsAny(tag, ",|#\n\r\t @"), strings.ContainsFunc(tag, unicode.IsControl):
				t.Errorf("accepted the tag %q", tag)
			}
		}
		if merged := mergeTags(tags, tags); len(merged) > len(tags) {
			t.Errorf("%q has repetitions", merged)
		}
	})
}
