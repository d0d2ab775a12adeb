package metric

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendTag(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct{ value, want string }{
		{"Web", "k:web"},
		{"web", "k:web"},
		{"web server", "k:web_server"},
		{"web -  server", "k:web_-_server"},
		{"a__b", "k:a_b"},
		{"web!", "k:web"},
		{"(sd-pam)", "k:_sd-pam"},
		{"", "k:n/a"},
		{"N/A", "k:n/a"},
		{"\n|#,@\x00", "k:n/a"},
		{"a\nsocktally.fake:1|c|#x:y,z", "k:a_socktally.fake:1_c_x:y_z"},
		{"a::", "k:a"},
		{"2001:db8::1", "k:2001:db8::1"},
		{"GRÖSSE役", "k:grösse役"},
		{"a\xffb", "k:a_b"},
		{"\u0085a\u2028", "k:_a"},
		{long, "k:" + long[:198]},
		{strings.Repeat("é", 300), "k:" + strings.Repeat("é", 99)},
		{strings.Repeat(" ", 64<<10), "k:n/a"},
		{strings.Repeat("é", 64<<10), "k:" + strings.Repeat("é", 99)},
	}
	for _, test := range tests {
		if got := string(AppendTag([]byte("before"), "k", test.value)); got != "before"+test.want {
			t.Errorf("%.40q: got %q, want %q", test.value, got[6:], test.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { AppendTag(make([]byte, 0, 256), "service", "Web Server Größe") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAppendTag checks that every value becomes exactly one tag, and that a valid tag does not change.
func FuzzAppendTag(f *testing.F) {
	for _, value := range []string{"", "Web", "a\nb|c#d,e", "\xff\xfe", "é\u0301", "İ", "ǅ", "a::_:", strings.Repeat("é_", 200), strings.Repeat("\x00", 1000)} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		tag := string(AppendTag(nil, "service", value))
		if len(tag) > MaxTagLength || !utf8.ValidString(tag) || CheckTag(tag) != nil || strings.ContainsAny(tag, ",|#@ \n\r\t\x00") {
			t.Errorf("%q became %q: %v", value, tag, CheckTag(tag))
		}
		if again := string(AppendTag(nil, "service", strings.TrimPrefix(tag, "service:"))); again != tag {
			t.Errorf("%q became %q and then %q", value, tag, again)
		}
	})
}

func TestAllTags(t *testing.T) {
	process := []string{"env:prod", "service:socktally", "version:1", "team:net", "serviced:x", "alone"}
	tests := []struct {
		sample Sample
		want   []string
	}{
		{Sample{Name: Readings}, process},
		{Sample{Name: SamplesSent, Tags: []string{"sink:http"}}, append(slices.Clone(process), "sink:http")},
		{Sample{Name: SamplesSent, Tags: []string{"alone:not"}}, append(slices.Clone(process[:5]), "alone:not")},
		{Sample{Name: FlowReset}, []string{"env:prod", "team:net", "serviced:x", "alone"}},
		{Sample{Name: FlowReset, Tags: []string{"service:db", "env:n/a"}}, []string{"team:net", "serviced:x", "alone", "service:db", "env:n/a"}},
	}
	for _, test := range tests {
		if got := AllTags(process, test.sample); !slices.Equal(got, test.want) {
			t.Errorf("%s%q: got %q, want %q", test.sample.Name, test.sample.Tags, got, test.want)
		}
	}
}

func TestFlowTags(t *testing.T) {
	seen := map[string]bool{}
	for _, tag := range FlowTags() {
		if seen[tag.Name] || tag.Description == "" || !KnownFlowTag(tag.Name) || !ReservedTag(tag.Name) {
			t.Errorf("%+v is there twice, not described or not known", tag)
		}
		seen[tag.Name] = true
	}
	for name, known := range map[string]bool{
		"tag.team": true, "tag.größe": true, "tag.": false, "tag.a:b": false, "tag.1": false, "tag.Team": false,
		"tag.service": false, "tag.host": false, "": false, "host": false, "Service": false,
	} {
		if KnownFlowTag(name) != known {
			t.Errorf("KnownFlowTag(%q) = %v", name, !known)
		}
	}
}
