package query

import (
	"net/netip"
	"reflect"
	"socktally/record"
	"strings"
	"testing"
	"unicode/utf8"
)

// someRows are what a fuzzed predicate is tried on.
func someRows() []*Row {
	full := record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Port: 80, Owner: record.Owner{
		PID: 1, Process: "a", Service: "b\x00c", Env: "\xff", Tags: []string{"team:x", "team:y", ":", "z"},
	}}
	empty, flow, dns := NewRow("h"), NewRow("h"), NewRow("h")
	empty.SetFlow(&record.Flow{Direction: record.Incoming})
	flow.SetFlow(&record.Flow{Protocol: "tcp", Direction: record.Outgoing, Client: full, Server: full, ServerDomain: "a.invalid"})
	dns.SetDNS(&record.DNS{Protocol: "tcp", Direction: record.Outgoing, Client: full, Server: full, Name: "a\x00b.invalid"})
	return []*Row{empty, flow, dns}
}

// sameWhenWritten parses what a tree writes, and compares. A list of values writes shorter than the terms that
// it stands for, which may then be too long for a text.
func sameWhenWritten(t *testing.T, kind Kind, tree Node) {
	t.Helper()
	text := tree.String()
	again, err := kind.Parse(text)
	if len(text) > maxBytes {
		return
	}
	if err != nil || !reflect.DeepEqual(again, tree) {
		t.Errorf("%#v writes %q, which is %#v, %v", tree, text, again, err)
	}
}

func compile(t *testing.T, kind Kind, tree Node) Predicate {
	t.Helper()
	wanted, err := kind.Compile(tree)
	if err != nil {
		t.Fatalf("%v was parsed and does not compile: %v", tree, err)
	}
	return wanted
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"client_service:web AND (server_port:443 OR NOT protocol:udp)", `a:"b\"c" -d:e*`, "CIDR(network.client.ip, 10.0.0.0/8, ::/0)",
		"server_port:(80 OR 8*)", "client_ip:fe80::1", "((", "NOT - NOT", ":::", `"`, "CIDR(", "server_port:>1",
		`LIKE(client_team, "a b*")`, `client_team:"<a\\*"`, "(protocol:tcp protocol:u*) protocol:N/A", "LIKE(", `NOT (NOT client_a:"(" OR client_a:-*)`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []Kind{Connections, DNS} {
			tree, err := kind.Parse(text)
			if err != nil {
				if utf8.ValidString(text) && !utf8.ValidString(err.Error()) {
					t.Errorf("%q: the error is not UTF-8: %q", text, err)
				}
				continue
			}
			sameWhenWritten(t, kind, tree)
			// What is parsed can be negated, and is then the opposite.
			opposite, err := kind.Parse("NOT (" + text + ")")
			if err != nil {
				if strings.Contains(err.Error(), "levels") || strings.Contains(err.Error(), "bytes long") {
					continue
				}
				t.Fatalf("%q is a query, and in parentheses it is not: %v", text, err)
			}
			wanted, negated := compile(t, kind, tree), compile(t, kind, opposite)
			for _, r := range someRows() {
				if wanted(r) == negated(r) {
					t.Errorf("%q: it and its opposite are both %v", text, wanted(r))
				}
			}
		}
	})
}

func FuzzTags(f *testing.F) {
	for _, seed := range []string{
		"client_service:web,server_port:443", "client_team:*", "a:b", ",", "network.client.ip:10.*", "client_a::",
		"client_service:a b*,client_service:\"?", "client_service:<1", "client_env:[*", "client_env:(,client_env:)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		tree, err := Connections.ParseTags(list)
		if err != nil {
			return
		}
		sameWhenWritten(t, Connections, tree)
		wanted := compile(t, Connections, tree)
		for _, r := range someRows() {
			wanted(r)
		}
	})
}

// FuzzMatches compares with the plain definition of what a pattern means.
func FuzzMatches(f *testing.F) {
	f.Add("a*b", "axxb")
	f.Add("*a*a*", "aaa")
	f.Add("?", "")
	f.Add("A?c", "aBC")
	f.Add("Ab", "aB")
	f.Fuzz(func(t *testing.T, pat, s string) {
		if len(pat) > 12 || len(s) > 12 {
			return
		}
		if got, want := matches(pat, s), plainMatch(pat, s); got != want {
			t.Errorf("%q on %q: %v, want %v", pat, s, got, want)
		}
		if got := sameText(pat, s); !strings.ContainsAny(pat, "*?") && got != plainMatch(pat, s) {
			t.Errorf("%q is %q: %v", pat, s, got)
		}
	})
}

func plainMatch(pat, s string) bool {
	switch {
	case pat == "":
		return s == ""
	case pat[0] == '*':
		return plainMatch(pat[1:], s) || s != "" && plainMatch(pat, s[1:])
	case s == "":
		return false
	}
	return (pat[0] == '?' || lower(pat[0]) == lower(s[0])) && plainMatch(pat[1:], s[1:])
}
