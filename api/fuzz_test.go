package api

import (
	"net/netip"
	"socktally/query"
	"socktally/record"
	"testing"
	"unicode/utf8"
)

// someRows are what a fuzzed grouping is tried on.
func someRows() []*query.Row {
	full := record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Port: 80, Owner: record.Owner{
		PID: 1, Process: "a", Service: "b\x00c", Env: "\xff", Tags: []string{"team:x", "team:y", ":", "z"},
	}}
	empty, flow, dns := query.NewRow("h"), query.NewRow("h"), query.NewRow("h")
	empty.SetFlow(&record.Flow{Direction: record.Incoming})
	flow.SetFlow(&record.Flow{Protocol: "tcp", Direction: record.Outgoing, Client: full, Server: full})
	dns.SetDNS(&record.DNS{Protocol: "tcp", Direction: record.Outgoing, Client: full, Server: full, Name: "a\x00b.invalid"})
	return []*query.Row{empty, flow, dns}
}

func FuzzGroupBy(f *testing.F) {
	for _, seed := range []string{"client_service,server_service", "server_ungrouped", "network.dns_query, client_team", ",", "client_\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		for _, e := range endpoints(nil, nil) {
			groups, err := e.asks().parseGroups(list)
			if err != nil {
				continue
			}
			for _, r := range someRows() {
				var key []byte
				for i := range groups {
					key = groups[i].Appender()(key, r)
				}
				for i, of := range query.SplitValues(string(key), len(groups)) {
					if len(of) == 0 {
						t.Errorf("%q: %s has no value", list, groups[i].Name)
					}
					for _, value := range of {
						if value == "" || !utf8.ValidString(value) {
							t.Errorf("%q: %s is %q", list, groups[i].Name, value)
						}
					}
				}
			}
		}
	})
}
