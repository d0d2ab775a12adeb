package networks

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"socktally/record"
)

const table = `
# The sites.
0.0.0.0/0      name:Internet
10.0.0.0/8     dc:north team:net	# private
10.1.0.0/16    name:DB team:Storage
10.1.2.3/32    Name:one-db
2001:db8::/32  name:office floor:2
	fe80::/10 x:y
`

func TestLookup(t *testing.T) {
	networks, err := Parse(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	if networks.Len() != 6 {
		t.Errorf("%d networks", networks.Len())
	}
	for addr, want := range map[string]struct {
		name string
		tags []string
	}{
		"192.0.2.1":       {"internet", nil},
		"10.200.0.1":      {"", []string{"dc:north", "team:net"}},
		"10.1.0.1":        {"db", []string{"team:storage"}},
		"::ffff:10.1.0.1": {"db", []string{"team:storage"}},
		"10.1.2.3":        {"one-db", nil},
		"2001:db8::1":     {"office", []string{"floor:2"}},
		"fe80::1%eth0":    {"", []string{"x:y"}},
		"2001:db9::1":     {"", nil},
		"":                {"", nil},
	} {
		parsed, _ := netip.ParseAddr(addr)
		if name, tags := networks.Lookup(parsed); name != want.name || !slices.Equal(tags, want.tags) {
			t.Errorf("%s: got %q %q, want %+v", addr, name, tags, want)
		}
	}
	var none *Table
	if name, tags := none.Lookup(netip.MustParseAddr("10.0.0.1")); name != "" || tags != nil || none.Len() != 0 {
		t.Error("a nil table has a network")
	}
}

func TestParseFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{"10.0.0.0/8", `line 1: no tags: ` + accepted},
		{"\n\n10.0.0.0/33 a:b", `line 3: "10.0.0.0/33" is not a CIDR: ` + accepted},
		{"10.0.0.1/8 a:b", `line 1: "10.0.0.1/8" has bits behind its length, is 10.0.0.0/8 meant: ` + accepted},
		{"10.0.0.1 a:b", `line 1: address "10.0.0.1" has no length, for itself alone write 10.0.0.1/32: ` + accepted},
		{"::1 a:b", `line 1: address "::1" has no length, for itself alone write ::1/128: ` + accepted},
		{"::ffff:10.0.0.0/104 a:b", `line 1: "::ffff:10.0.0.0/104" is IPv4 written as IPv6: ` + accepted},
		{"fe80::%eth0/64 a:b", `line 1: "fe80::%eth0/64" is not a CIDR: ` + accepted},
		{"db 10.0.0.0/8", `line 1: "db" is not a CIDR: ` + accepted},
		{"10.0.0.0/8 a", `line 1: tag "a" has no value: ` + accepted},
		{"10.0.0.0/8 a:b,c:d", `line 1: tag "a:b,c:d" holds ',': ` + accepted},
		{"10.0.0.0/8 1:b", `line 1: tag "1:b" does not begin with a letter: ` + accepted},
		{"10.0.0.0/8 a:\xff", `line 1: tag "a:\xff" is not UTF-8: ` + accepted},
		{"10.0.0.0/8 service:x", `line 1: tag "service:x" is one that socktally sets: ` + accepted},
		{"10.0.0.0/8 a:b A:c", `line 1: tag "a" comes twice: ` + accepted},
		{"10.0.0.0/8 a:b\n# x\n10.0.0.0/8 a:b", `line 3: 10.0.0.0/8 stands in line 1 already`},
		{"x a:b\n10.0.0.0/8 a:b\ny a:b", "line 1: \"x\" is not a CIDR: " + accepted + "\nline 3: \"y\" is not a CIDR: " + accepted},
		{"\n" + strings.Repeat("x", maxLine+1), fmt.Sprintf("line 2: longer than %d bytes", maxLine)},
	}
	for _, test := range tests {
		_, err := Parse(strings.NewReader(test.text))
		if err == nil || err.Error() != test.want {
			t.Errorf("%.60q:\ngot  %v\nwant %s", test.text, err, test.want)
		}
	}
	_, err := Parse(strings.NewReader(strings.Repeat("x\n", 1000)))
	if n := len(strings.Split(err.Error(), "\n")); n != maxFaults+1 {
		t.Errorf("%d faults are told, want %d", n, maxFaults+1)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "networks")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if networks, err := Load(path); err != nil || networks.Len() != 6 {
		t.Errorf("got %d networks, %v", networks.Len(), err)
	}
}

// FuzzParse checks that nothing panics, and that Lookup finds each line of an accepted table by the first address of
// that line.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{table, "", "#", "0.0.0.0/0 a:b", "::/0 a:b", "::/0 name:x #", "1.2.3.4/0 a:b", "10/8 a:b", "a\rb", "\xff/8 a:b", "10.0.0.0/8 A:B a:b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		networks, err := Parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		found := 0
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			if fields := strings.Fields(line); len(fields) > 0 {
				found++
				name, tags := networks.Lookup(netip.MustParsePrefix(fields[0]).Addr())
				if name == "" && len(tags) == 0 {
					t.Errorf("%q is not found", fields)
				}
				for _, text := range append([]string{name}, tags...) {
					if record.CleanName(text) != text {
						t.Errorf("%q gives the name %q", fields, text)
					}
				}
			}
		}
		if found != networks.Len() {
			t.Errorf("%d networks of %d lines", networks.Len(), found)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	for _, size := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("networks=%d", size), func(b *testing.B) {
			var text strings.Builder
			for i := range size {
				fmt.Fprintf(&text, "10.%d.%d.0/24 name:n%d\n", i/256, i%256, i)
			}
			networks, err := Parse(strings.NewReader(text.String()))
			if err != nil {
				b.Fatal(err)
			}
			addr := netip.MustParseAddr("10.0.7.9")
			b.ReportAllocs()
			for b.Loop() {
				if name, _ := networks.Lookup(addr); name == "" {
					b.Fatal("not found")
				}
			}
		})
	}
}
