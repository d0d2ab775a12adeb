package record

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCleanName(t *testing.T) {
	for _, valid := range []string{
		"", "web", "nginx: master process", `a\000b`, "a|#,:\"'<>&", "größe 役 é\u0301", "\uFFFD", "a\u200db", "🐘",
		strings.Repeat("é", MaxName/2), "/kubepods.slice/kubepods-pod0.slice/cri-containerd-" + strings.Repeat("0", 64) + ".scope",
	} {
		if got := CleanName(valid); got != valid {
			t.Errorf("%.40q became %.40q", valid, got)
		}
	}
	for name, want := range map[string]string{
		"\x00":                            "\uFFFD",
		"\xff\xfe":                        "\uFFFD",
		"a\n\x01\xff\x1b[2Jb":             "a\uFFFD[2Jb",
		"\x7f\u0085a\u009fb":              "\uFFFDa\uFFFDb",
		"caf\xc3":                         "caf\uFFFD", // é, cut in two
		"\xed\xa0\x80":                    "\uFFFD",    // half a pair of UTF-16
		"\xc0\xaf":                        "\uFFFD",    // a slash in two bytes
		"a\tb":                            "a\uFFFDb",
		strings.Repeat("x", MaxName+1):    strings.Repeat("x", MaxName),
		"x" + strings.Repeat("é", 3000):   "x" + strings.Repeat("é", MaxName/2-1),
		strings.Repeat("a\x00", 10_000):   strings.Repeat("a\uFFFD", MaxName/4),
		strings.Repeat("\x00", 2*MaxName): "\uFFFD",
	} {
		if got := CleanName(name); got != want {
			t.Errorf("%.40q became %.40q of %d bytes, want %.40q of %d", name, got, len(got), want, len(want))
		}
	}
	if n := testing.AllocsPerRun(100, func() { CleanName("shop-front.größe") }); n > 0 {
		t.Errorf("%v allocations for a valid name", n)
	}
}

func FuzzCleanName(f *testing.F) {
	for _, name := range []string{"", "web", "\xff\x00\xff", "é\u0085", strings.Repeat("é\x00", 2000), "\uFFFD\xff"} {
		f.Add(name, 5)
	}
	f.Fuzz(func(t *testing.T, name string, most int) {
		clean := CleanName(name)
		if !utf8.ValidString(clean) || strings.ContainsFunc(clean, unicode.IsControl) || len(clean) > MaxName || CleanName(clean) != clean {
			t.Errorf("%q became %q", name, clean)
		}
		if (clean == "") != (name == "") {
			t.Errorf("%q became %q", name, clean)
		}
		most = min(max(most, 0), 2*len(name))
		cut := CutName(name, most)
		if !strings.HasPrefix(name, cut) || len(cut) > most || len(cut) < min(len(name), most)-utf8.UTFMax+1 || utf8.ValidString(name) && !utf8.ValidString(cut) {
			t.Errorf("%q cut to %d is %q", name, most, cut)
		}
	})
}

// TestCleanNamesLeavesNone fills every string of a record with an invalid name. It finds the strings by reflection, so later
// fields are tested too.
func TestCleanNamesLeavesNone(t *testing.T) {
	const bad = "a\n\xff"
	words := []string{"Protocol", "Family", "Source", "Direction"} // words of this program, not from outside
	tags := []string{"team:x", bad}
	var flow Flow
	var dns DNS
	for _, r := range []reflect.Value{reflect.ValueOf(&flow), reflect.ValueOf(&dns)} {
		eachName(r.Elem(), words, func(v reflect.Value) { v.SetString(bad) })
	}
	flow.Server.Owner.Tags, dns.Client.Owner.Tags = tags, tags
	flow.CleanNames()
	dns.CleanNames()
	names := 0
	for _, r := range []reflect.Value{reflect.ValueOf(&flow), reflect.ValueOf(&dns)} {
		eachName(r.Elem(), words, func(v reflect.Value) {
			names++
			if v.String() != "a\uFFFD" {
				t.Errorf("a name is %q", v)
			}
		})
	}
	if names < 2*14+3 {
		t.Errorf("%d names were looked at", names)
	}
	if want := []string{"team:x", "a\uFFFD"}; !slices.Equal(flow.Server.Owner.Tags, want) || !slices.Equal(dns.Client.Owner.Tags, want) {
		t.Errorf("tags %q, %q", flow.Server.Owner.Tags, dns.Client.Owner.Tags)
	}
	if tags[1] != bad {
		t.Error("tags that other records share were changed")
	}
}

// eachName visits the strings of a struct and of the structs in it, except fields with these names.
func eachName(v reflect.Value, but []string, visit func(reflect.Value)) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case slices.Contains(but, v.Type().Field(i).Name):
		case f.Kind() == reflect.String:
			visit(f)
		case f.Kind() == reflect.Struct && f.CanSet() && f.Type().PkgPath() == v.Type().PkgPath():
			eachName(f, but, visit)
		}
	}
}

func BenchmarkCleanNames(b *testing.B) {
	owner := Owner{Process: "nginx", Service: "shop-front", Env: "prod", Version: "1.2.3", Tags: []string{"team:shop", "tier:front"},
		Cgroup: "/system.slice/docker-" + strings.Repeat("0", 64) + ".scope", ContainerID: strings.Repeat("0", 64)}
	r := Flow{Client: Endpoint{Owner: owner}, Server: Endpoint{Owner: owner}, ServerDomain: "db.example.invalid"}
	b.ReportAllocs()
	for b.Loop() {
		r.CleanNames()
	}
}
