package api

import (
	"net/http"
	"strings"
	"testing"
)

// The bounds of a query, as docs/api.md has them.
const (
	maxQuery = 8 << 10
	maxDepth = 32
	maxTerms = 256
)

func TestQueryFilters(t *testing.T) {
	s := newServer(t, &memory{connections: mixed()}, nil)
	for query, want := range map[string]uint64{
		"client_service:checkout":                                        103,
		"client_service:CheckOut":                                        103,
		"  client_service:checkout  ":                                    103,
		"client_service:check*":                                          103,
		"client_service:c?eck*t":                                         103,
		"client_service:check":                                           0,
		"client_service:*":                                               103,
		"client_service:N/A":                                             21,
		"-client_service:*":                                              21,
		"NOT client_service:checkout":                                    21,
		"- NOT client_service:checkout":                                  103,
		`server_service:"dns, one"`:                                      3,
		`server_service:"dns*"`:                                          0,
		`server_service:"DNS, \one"`:                                     3,
		`LIKE(server_service, "dns, *")`:                                 3,
		"protocol:tcp server_port:443":                                   100,
		"protocol:tcp AND server_port:443":                               100,
		"protocol:udp OR server_port:443":                                103,
		"protocol:udp OR protocol:tcp direction:incoming":                23,
		"(protocol:udp OR protocol:tcp) direction:incoming":              20,
		"NOT protocol:udp direction:local":                               0,
		"NOT (protocol:udp direction:local)":                             121,
		"server_port:(443 OR 8080)":                                      120,
		"server_port:(NOT 443)":                                          24,
		"server_port:(8* -53)":                                           20,
		"server_port:N/A":                                                1,
		"server_port:0443":                                               100,
		"server_port:4?3":                                                100,
		"server_team:a":                                                  3,
		"server_team:a server_team:b":                                    3,
		"server_team:(a AND b)":                                          3,
		"server_team:N/A":                                                101,
		"client_zone:Z1":                                                 103,
		"network.server.ip:2001:db8::7":                                  3,
		"network.server.ip:2001:0DB8:0::7":                               3,
		`server_ip:"2001:db8::7"`:                                        3,
		"server_ip:(2001:db8::7 OR 10.0.0.1)":                            23,
		"server_ip:192.0.2.*":                                            100,
		"server_ip:N/A":                                                  1,
		"CIDR(network.client.ip, 10.0.0.0/8)":                            103,
		"CIDR(client_ip,10.0.0.0/8,192.0.2.0/24)":                        123,
		"-CIDR(server_ip, ::/0)":                                         121,
		"CIDR(server_ip, 2001:db8::/32) OR CIDR(server_ip, 10.0.0.1/32)": 23,
		"server_domain:*.invalid":                                        3,
		"client_host:web-1 client_pid:71":                                103,
		strings.Repeat("(", maxDepth) + "protocol:udp" + strings.Repeat(")", maxDepth): 3,
	} {
		got := rows(t, s, ConnectionsPath, "group_by=protocol", "query="+query)
		if sum := sumRows(t, got); sum != want {
			t.Errorf("%s: %d, want %d", query, sum, want)
		}
	}
}

func sumRows(t *testing.T, rows []string) uint64 {
	t.Helper()
	var sum uint64
	for _, row := range rows {
		var n uint64
		for _, digit := range row[strings.LastIndexByte(row, ' ')+1:] {
			n = 10*n + uint64(digit-'0')
		}
		sum += n
	}
	return sum
}

func TestTagsFilter(t *testing.T) {
	s := newServer(t, &memory{connections: mixed()}, nil)
	for tags, want := range map[string]uint64{
		"client_service:checkout":                            103,
		"client_service:checkout, server_port:443":           100,
		"server_port:443,server_port:8080":                   120, // one of them
		"server_port:443,client_service:c*,server_port:8080": 100,
		"client_team:N/A":                                    1,
		"client_team:*":                                      123,
		"network.server.ip:2001:db8::7":                      3,
		"direction:local,server_service:dns*":                3,
	} {
		got := rows(t, s, ConnectionsPath, "group_by=protocol", "tags="+tags)
		if sum := sumRows(t, got); sum != want {
			t.Errorf("%s: %d, want %d", tags, sum, want)
		}
		// Both filters hold.
		got = rows(t, s, ConnectionsPath, "group_by=protocol", "tags="+tags, "query=protocol:none")
		if len(got) > 0 {
			t.Errorf("%s with a query that nothing matches: %q", tags, got)
		}
	}
}

// TestFaults asks for what is refused, and reads what is at fault and what is accepted.
func TestFaults(t *testing.T) {
	s := newServer(t, &memory{}, nil)
	for parameter, want := range map[string]string{
		"from=x":                     `from=\"x\": want Unix seconds, such as 1700000000`,
		"from=-1":                    `from=\"-1\": want Unix seconds`,
		"from=1.5":                   `from=\"1.5\": want Unix seconds`,
		"from=1700000000":            `from=\"1700000000\": not before to, which is 1700000000`,
		"from=1700000000000":         `from=\"1700000000000\": want Unix seconds`,
		"to=1700000000000":           `to=\"1700000000000\": want Unix seconds`,
		"to=x":                       `to=\"x\": want Unix seconds`,
		"limit=0":                    `limit=\"0\": want a number from 1 to 7500`,
		"limit=7501":                 `limit=\"7501\": want a number from 1 to 7500`,
		"limit=ten":                  `limit=\"ten\": want a number from 1 to 7500`,
		"group_by=a":                 `group_by=\"a\": unknown name \"a\": want client_ or server_ with service,`,
		"group_by=client_":           `unknown name \"client_\"`,
		"group_by=server_ungrouped":  `unknown name \"server_ungrouped\"`,
		"group_by=network.dns_query": `unknown name \"network.dns_query\"`,
		"group_by=protocol,":         `unknown name \"\"`,
		"group_by=protocol,protocol": `\"protocol\" is named twice`,
		"group_by=client_a,client_b,client_c,client_d,client_e,client_f,client_g,client_h,client_i,client_j,client_k": "11 names: want 10 at most",
		"group_by=client_a b":   `unknown name \"client_a b\"`,
		"tags=x":                `tags=\"x\": \"x\" has no value: want a comma list of name:value`,
		"tags=x:y":              `unknown name \"x\"`,
		"tags=client_service:":  "client_service has no value: want client_service:value, or client_service:N/A",
		"tags=server_port:http": "server_port:http is no number",
		"tags=" + strings.Repeat("client_a:b,", 256) + "client_a:b": "more than 256 tags",
		"query=client_service":             `query=\"client_service\": at 1: unexpected \"client_service\": want name:value`,
		"query=protocol:tcp and":           `at 14: unexpected \"and\"`,
		"query=protocol:tcp AND":           "at 17: the text ends: want name:value",
		"query=protocol:tcp OR )":          `at 17: unexpected \")\"`,
		"query=(protocol:tcp":              "at 14: the text ends: want AND, OR or )",
		"query=protocol:tcp)":              `at 13: unexpected \")\": want AND, OR or the end`,
		"query=NOT":                        "at 4: the text ends",
		"query=()":                         `at 2: unexpected \")\"`,
		"query=x:y":                        `at 1: unknown name \"x\"`,
		"query=protocol:tcp x:y":           `at 14: unknown name \"x\"`,
		"query=protocol:":                  "at 1: protocol has no value",
		`query=protocol:"tcp`:              "at 10: the quotation does not end",
		`query=protocol:"tcp"x`:            `at 15: unexpected 'x' beside a quotation`,
		"query=server_port:>1024":          `\"server_port:\u003e1024\" is a range: want a value`,
		"query=server_port:[1 TO 5]":       `\"server_port:[1\" is a range`,
		"query=server_port:x":              "at 1: server_port:x is no number",
		"query=server_ip:10.0.0.0/8":       "server_ip:10.0.0.0/8 is no address: want one such as 10.0.0.1 or 10.0.*, or CIDR(server_ip, 10.0.0.0/8)",
		"query=server_port:(80 OR":         "the text ends: want a value of server_port",
		"query=CIDR(server_ip)":            "CIDR without a network",
		"query=CIDR(server_ip, 10.0.0.1)":  `\"10.0.0.1\" is no network`,
		"query=CIDR(server_ip 10.0.0.1)":   `at 16: unexpected \"10.0.0.1\": want , or )`,
		"query=CIDR(protocol, 10.0.0.0/8)": "CIDR of protocol: want network.client.ip or network.server.ip",
		"query=CIDR(x, 10.0.0.0/8)":        `unknown name \"x\"`,
		"query=CIDR(":                      "the text ends: want an argument of CIDR",
		"query=" + strings.Repeat("(", maxDepth+1) + "protocol:udp" + strings.Repeat(")", maxDepth+1): "more than 32 levels",
		"query=" + strings.Repeat("NOT ", maxDepth+2) + "protocol:udp":                                "more than 32 levels",
		"query=" + strings.Repeat("protocol:udp ", maxTerms+1):                                        "more than 256 terms",
		"query=" + strings.Repeat(" ", maxQuery) + "protocol:udp":                                     "8204 bytes long: want 8192 at most",
		"groupby=protocol": `unknown parameter \"groupby\": want from, to, group_by, tags, query, limit`,
	} {
		code, body := get(t, s, ConnectionsPath, parameter)
		if code != http.StatusBadRequest || !strings.HasPrefix(body, `{"errors":["`) || !strings.Contains(body, want) {
			t.Errorf("%.80s: %d %s\nwant %s", parameter, code, body, want)
		}
		if len(body) > 1000 {
			t.Errorf("%.80s: the answer is %d bytes long", parameter, len(body))
		}
	}
	for parameter, want := range map[string]string{
		"group_by=server_ungrouped,server_port":       "server_ungrouped stands beside server_port: want one of the two",
		"group_by=network.dns_query,server_ungrouped": "server_ungrouped stands beside network.dns_query",
		"group_by=direction":                          `unknown name \"direction\"`,
		"query=server_domain:x":                       `unknown name \"server_domain\"`,
	} {
		if code, body := get(t, s, DNSPath, parameter); code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s\nwant %s", parameter, code, body, want)
		}
	}
	// All faults are told at once.
	code, body := get(t, s, ConnectionsPath, "from=x", "limit=0", "limit=1", "group_by=a", "x=y", "z=y")
	if code != http.StatusBadRequest || strings.Count(body, `","`) != 5 {
		t.Errorf("%d %s", code, body)
	}
}

// TestManyGroupNames groups by as many names as there may be.
func TestManyGroupNames(t *testing.T) {
	s := newServer(t, &memory{connections: mixed()[:1]}, nil)
	got := rows(t, s, ConnectionsPath, "group_by=client_a,client_b,client_c,client_d,client_e,client_f,client_g,client_h,client_i,client_pid")
	if len(got) != 1 || !strings.HasSuffix(got[0], "client_i:N/A, client_pid:71 100") {
		t.Errorf("got %q", got)
	}
}
