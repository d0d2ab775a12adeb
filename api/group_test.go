package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"socktally/record"
	"strings"
	"testing"
)

// mixed are records of each direction and protocol, and one that found no room.
func mixed() []record.Flow {
	return []record.Flow{
		flowOf(100, nil),
		flowOf(20, func(r *record.Flow) { // the server is here
			r.Direction = record.Incoming
			r.Client, r.Server = r.Server, r.Client
			r.Client.Port, r.Server.Port = 0, 8080
			r.Client.Owner.Tags = []string{"name:db-replicas", "team:storage"}
		}),
		flowOf(3, func(r *record.Flow) { // both are
			r.Direction, r.Protocol, r.ServerDomain = record.Local, "udp", "cache.invalid"
			r.Server = record.Endpoint{Addr: netip.MustParseAddr("2001:db8::7"), Port: 53, Owner: record.Owner{
				PID: 9, Process: "named", Service: "dns, one", Tags: []string{"team:b", "team:a", "team:b", "bare"},
			}}
		}),
		{Protocol: "tcp", Direction: record.Outgoing, Counters: record.Counters{BytesSentByClient: 1}},
	}
}

func TestEveryNameGroups(t *testing.T) {
	s := newServer(t, &memory{connections: mixed()}, nil)
	container := strings.Repeat("ab", 32)
	for groupBy, want := range map[string][]string{
		"":                      {"client_service:checkout, server_service:N/A 100", "client_service:N/A, server_service:checkout 20", "client_service:checkout, server_service:dns%2C one 3", "client_service:N/A, server_service:N/A 1"},
		"client_service":        {"client_service:checkout 103", "client_service:N/A 21"},
		"client_env":            {"client_env:prod 103", "client_env:N/A 21"},
		"server_version":        {"server_version:N/A 104", "server_version:2.1 20"},
		"client_team":           {"client_team:pay 103", "client_team:storage 20", "client_team:N/A 1"},
		"client_zone":           {"client_zone:z1 103", "client_zone:N/A 21"},
		"client_bare":           {"client_bare:N/A 124"},
		"server_team":           {"server_team:N/A 101", "server_team:pay 20", "server_team:a, server_team:b 3"},
		"client_name":           {"client_name:N/A 104", "client_name:db-replicas 20"},
		"network.client.ip":     {"network.client.ip:10.0.0.1 103", "network.client.ip:192.0.2.10 20", "network.client.ip:N/A 1"},
		"client_ip":             {"client_ip:10.0.0.1 103", "client_ip:192.0.2.10 20", "client_ip:N/A 1"},
		"network.server.ip":     {"network.server.ip:192.0.2.10 100", "network.server.ip:10.0.0.1 20", "network.server.ip:2001:db8::7 3", "network.server.ip:N/A 1"},
		"client_port":           {"client_port:N/A 124"},
		"server_port":           {"server_port:443 100", "server_port:8080 20", "server_port:53 3", "server_port:N/A 1"},
		"client_pid":            {"client_pid:71 103", "client_pid:N/A 21"},
		"server_process":        {"server_process:N/A 101", "server_process:curl 20", "server_process:named 3"},
		"client_container_id":   {"client_container_id:" + container + " 103", "client_container_id:N/A 21"},
		"client_host":           {"client_host:web-1 104", "client_host:N/A 20"},
		"server_host":           {"server_host:N/A 101", "server_host:web-1 23"},
		"protocol":              {"protocol:tcp 121", "protocol:udp 3"},
		"direction":             {"direction:outgoing 101", "direction:incoming 20", "direction:local 3"},
		"server_domain":         {"server_domain:N/A 121", "server_domain:cache.invalid 3"},
		" protocol , direction": {"protocol:tcp, direction:outgoing 101", "protocol:tcp, direction:incoming 20", "protocol:udp, direction:local 3"},
	} {
		if got := rows(t, s, ConnectionsPath, "group_by="+groupBy); !same(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", groupBy, got, want)
		}
	}
}

func TestValuesAreSeveral(t *testing.T) {
	s := newServer(t, &memory{connections: mixed()[2:3]}, nil)
	_, body := get(t, s, ConnectionsPath, "group_by=server_team")
	if want := `"group_bys":{"server_team":["a","b"]}`; !strings.Contains(body, want) {
		t.Errorf("want %s in %s", want, body)
	}
	s = newServer(t, &memory{dns: []record.DNS{dnsOf("a.invalid", 1, func(r *record.DNS) { r.Client.Owner.Tags = []string{"team:b", "team:a"} })}}, nil)
	_, body = get(t, s, DNSPath, "group_by=client_team,server_ungrouped")
	if want := `"group_bys":[{"key":"client_team","value":"a"},{"key":"client_team","value":"b"}]`; !strings.Contains(body, want) {
		t.Errorf("want %s in %s", want, body)
	}
}

func TestDNSGroups(t *testing.T) {
	s := newServer(t, &memory{dns: []record.DNS{
		dnsOf("a.invalid", 7, nil),
		dnsOf("b.invalid", 2, func(r *record.DNS) { r.Type, r.Client.Owner.Service = "AAAA", "" }),
		dnsOf("a.invalid", 1, func(r *record.DNS) { // asked from elsewhere
			r.Client.Owner, r.Server.Owner, r.Direction = record.Owner{}, record.Owner{PID: 9, Service: "named"}, record.Incoming
		}),
	}}, nil)
	for groupBy, want := range map[string][]string{
		"":                                {"network.dns_query:a.invalid 8", "network.dns_query:b.invalid 2"},
		"server_ungrouped":                {"server_ungrouped 10"},
		"client_service,server_ungrouped": {"client_service:checkout 7", "client_service:N/A 3"},
		"client_host":                     {"client_host:web-1,network.dns_query:a.invalid 7", "client_host:web-1,network.dns_query:b.invalid 2", "client_host:N/A,network.dns_query:a.invalid 1"},
		"server_service":                  {"server_service:N/A 9", "server_service:named 1"},
		"server_host":                     {"server_host:N/A 9", "server_host:web-1 1"},
		"network.dns_qtype":               {"network.dns_qtype:A 8", "network.dns_qtype:AAAA 2"},
		"network.server.ip,protocol":      {"network.server.ip:192.0.2.53,protocol:udp 10"},
	} {
		if got := rows(t, s, DNSPath, "group_by="+groupBy); !same(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", groupBy, got, want)
		}
	}
	// Nothing was answered in this test's records, so there is no latency to tell.
	if _, body := get(t, s, DNSPath); strings.Contains(body, "latency") {
		t.Error(body)
	}
}

// TestOrderIsStable asks for records of one size in another order.
func TestOrderIsStable(t *testing.T) {
	m := &memory{}
	for i := range 50 {
		m.connections = append(m.connections, flowOf(5, func(r *record.Flow) { r.Server.Port = uint16(1000 + i*7%50) }))
	}
	s := newServer(t, m, nil)
	got := rows(t, s, ConnectionsPath, "group_by=server_port", "limit=3")
	if want := []string{"server_port:1000 5", "server_port:1001 5", "server_port:1002 5"}; !same(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestLimits(t *testing.T) {
	m := &memory{}
	for i := range 8000 {
		m.connections = append(m.connections, flowOf(uint64(i), func(r *record.Flow) { r.Server.Port = uint16(i + 1) }))
		m.dns = append(m.dns, dnsOf(fmt.Sprint(i), uint64(i), nil))
	}
	s := newServer(t, m, nil)
	for path, groupBy := range map[string]string{ConnectionsPath: "server_port", DNSPath: "network.dns_query"} {
		for limit, want := range map[string]int{"": 100, "1": 1, "7500": 7500} {
			if got := rows(t, s, path, "group_by="+groupBy, "limit="+limit); len(got) != want {
				t.Errorf("%s limit=%s: %d rows, want %d", path, limit, len(got), want)
			}
		}
	}
	s.groups = 7999
	code, body := get(t, s, ConnectionsPath, "group_by=server_port")
	if code != http.StatusTooManyRequests || !strings.Contains(body, "too many groups: more than 7999: want a shorter window") {
		t.Errorf("%d %s", code, body)
	}
	// A filter makes room.
	if got := rows(t, s, ConnectionsPath, "group_by=server_port", "tags=server_port:80"); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// TestLargeSums adds up to more than an int64.
func TestLargeSums(t *testing.T) {
	s := newServer(t, &memory{connections: []record.Flow{flowOf(1<<63-1, nil), flowOf(7, nil)}}, nil)
	if _, body := get(t, s, ConnectionsPath); !strings.Contains(body, `"bytes_sent_by_client":9223372036854775807`) {
		t.Error(body)
	}
}

// TestHostileValues has processes whose names look like the ids of other rows.
func TestHostileValues(t *testing.T) {
	var all []record.Flow
	for i, service := range []string{"a, server_service:b", "a%2C", "\xff\xfe", "x\"}]}", "N/A"} {
		all = append(all, flowOf(uint64(10-i), func(r *record.Flow) { r.Client.Owner.Service = service }))
	}
	s := newServer(t, &memory{connections: all}, nil)
	want := []string{"client_service:a%2C server_service:b 10", "client_service:a%252C 9", "client_service:\uFFFD 8", "client_service:x\"}]} 7", "client_service:N/A 6"}
	if got := rows(t, s, ConnectionsPath, "group_by=client_service"); !same(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
