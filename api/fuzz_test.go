package api

import (
	"net/netip"
	"socktally/record"
	"strings"
	"testing"
	"unicode/utf8"
)

// someViews are what a fuzzed predicate is tried on.
func someViews() []*view {
	full := &record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Port: 80, Owner: record.Owner{
		PID: 1, Process: "a", Service: "b\x00c", Env: "\xff", Tags: []string{"team:x", "team:y", ":", "z"},
	}}
	return []*view{
		{client: &record.Endpoint{}, server: &record.Endpoint{}},
		{client: full, server: full, clientHere: true, protocol: "tcp", dnsName: "a\x00b.invalid"},
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"client_service:web AND (server_port:443 OR NOT protocol:udp)", `a:"b\"c" -d:e*`, "CIDR(network.client.ip, 10.0.0.0/8, ::/0)",
		"server_port:(80 OR 8*)", "client_ip:fe80::1", "((", "NOT - NOT", ":::", `"`, "CIDR(", "server_port:>1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []endpointKind{connections, dnsQueries} {
			names := fields{host: "h", kind: kind}
			wanted, err := names.parseQuery(text)
			if err != nil {
				if utf8.ValidString(text) && !utf8.ValidString(err.Error()) {
					t.Errorf("%q: the error is not UTF-8: %q", text, err)
				}
				continue
			}
			// What is parsed can be negated, and is then the opposite.
			negated, err := names.parseQuery("NOT (" + text + ")")
			if err != nil {
				if strings.Contains(err.Error(), "levels") || strings.Contains(err.Error(), "bytes long") {
					continue
				}
				t.Fatalf("%q is a query, and in parentheses it is not: %v", text, err)
			}
			for _, v := range someViews() {
				if wanted(v) == negated(v) {
					t.Errorf("%q: it and its opposite are both %v", text, wanted(v))
				}
			}
		}
	})
}

func FuzzTags(f *testing.F) {
	for _, seed := range []string{"client_service:web,server_port:443", "client_team:*", "a:b", ",", "network.client.ip:10.*", "client_a::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		wanted, err := fields{host: "h", kind: connections}.parseTags(list)
		if err != nil {
			return
		}
		for _, v := range someViews() {
			wanted(v)
		}
	})
}

func FuzzGroupBy(f *testing.F) {
	for _, seed := range []string{"client_service,server_service", "server_ungrouped", "network.dns_query, client_team", ",", "client_\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		for _, kind := range []endpointKind{connections, dnsQueries} {
			groups, err := fields{host: "h", kind: kind}.parseGroups(list)
			if err != nil {
				continue
			}
			for _, v := range someViews() {
				var key []byte
				for i := range groups {
					key = groups[i].appendValues(key, v)
				}
				for i, of := range groupValues(string(key), len(groups)) {
					if len(of) == 0 {
						t.Errorf("%q: %s has no value", list, groups[i].name)
					}
					for _, value := range of {
						if value == "" || !utf8.ValidString(value) {
							t.Errorf("%q: %s is %q", list, groups[i].name, value)
						}
					}
				}
			}
		}
	})
}

// FuzzMatches compares with the plain definition of what a pattern means.
func FuzzMatches(f *testing.F) {
	f.Add("a*b", "axxb")
	f.Add("*a*a*", "aaa")
	f.Add("?", "")
	f.Add("A?c", "aBC")
	f.Fuzz(func(t *testing.T, pat, s string) {
		if len(pat) > 12 || len(s) > 12 {
			return
		}
		if got, want := matches(pattern{text: pat}, s), plainMatch(pat, s); got != want {
			t.Errorf("%q on %q: %v, want %v", pat, s, got, want)
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
