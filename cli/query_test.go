package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// apiAnswer is the answer of a test server, and the request that it got.
type apiAnswer struct {
	path, key string
	values    url.Values
	status    int
	body      string
}

// serveAnswer serves a at a listener.
func serveAnswer(t *testing.T, l net.Listener, a *apiAnswer) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.path, a.key, a.values = r.URL.Path, r.Header.Get("DD-API-KEY"), r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const (
	someConnections = `{"data":[
		{"attributes":{"bytes_sent_by_client":1536,"bytes_sent_by_server":7,"group_bys":{"client_service":["web\u001b[2J"],"server_team":["a","b"]},"rtt_micro_seconds":1234,"tcp_closed_connections":1,"tcp_established_connections":2,"tcp_refusals":1,"tcp_resets":2,"tcp_retransmits":3,"tcp_timeouts":4},"id":"x","type":"aggregated_connection"},
		{"attributes":{"bytes_sent_by_client":0,"bytes_sent_by_server":0,"group_bys":{"client_service":["N/A"],"server_team":["N/A"]}},"id":"y","type":"aggregated_connection"}]}`
	someQueries = `{"data":[{"attributes":{"group_bys":[{"key":"client_team","value":"a"},{"key":"client_team","value":"b"},{"key":"network.dns_query","value":"a.invalid"}],
		"metrics":[{"key":"dns_total_requests","value":9},{"key":"dns_failures","value":6},{"key":"dns_responses.nxdomain","value":1},{"key":"dns_responses.servfail","value":2},
		{"key":"dns_responses.other","value":0},{"key":"dns_timeouts","value":3},{"key":"dns_success_latency_percentile","value":1500}]},"id":"x","type":"aggregated_dns"}]}`
)

func TestQueryTables(t *testing.T) {
	setEnvironment(t, nil)
	a := &apiAnswer{status: 200, body: someConnections}
	l := listen(t, "tcp", "127.0.0.1:0")
	serveAnswer(t, l, a)
	code, stdout, stderr := run(t, "connections", "--addr", l.Addr().String(), "--group-by", "server_team,client_service")
	if want := "server_team  client_service   SENT  RECEIVED     RTT  OPENED  CLOSED  RETRANS  FAILED\n" +
		"a, b         web?[2J         1.5Ki         7  1.23ms       2       1        3       7\n" +
		"N/A          N/A                 0         0       -       -       -        -       -\n"; code != 0 || stdout != want || stderr != "" {
		t.Errorf("%d %s\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	a.body = someQueries
	code, stdout, stderr = run(t, "dns", "--addr", l.Addr().String(), "--group-by", "client_team")
	if want := "client_team  network.dns_query  QUERIES  FAILED  NXDOMAIN  SERVFAIL  OTHER  TIMEOUT     OK  ERR\n" +
		"a, b         a.invalid                9       6         1         2      -        3  1.5ms    -\n"; code != 0 || stdout != want || stderr != "" {
		t.Errorf("%d %s\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	for command, body := range map[string]string{"connections": someConnections, "dns": someQueries} {
		a.body = body
		code, stdout, _ = run(t, command, "--addr", l.Addr().String(), "--json")
		var got, want any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("%d %v %s", code, err, stdout)
		}
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatal(err)
		}
		if a, b := marshal(t, got), marshal(t, want); a != b {
			t.Errorf("got  %s\nwant %s", a, b)
		}
		a.body = `{"data":[]}`
		code, stdout, stderr = run(t, command, "--addr", l.Addr().String())
		if code != 0 || stdout != "" || !strings.Contains(stderr, "nothing of this kind") {
			t.Errorf("%d %q %q", code, stdout, stderr)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestQueryParameters(t *testing.T) {
	setEnvironment(t, map[string]string{"SOCKTALLY_API_KEYS": "first-key-of-two, second"})
	a := &apiAnswer{status: 200, body: `{"data":[]}`}
	l := listen(t, "tcp", "127.0.0.1:0")
	serveAnswer(t, l, a)
	for command, want := range map[string][2]string{
		"connections": {"/api/v2/network/connections/aggregate", "client_service,network.client.ip,server_service,network.server.ip,server_port"},
		"dns":         {"/api/v2/network/dns/aggregate", "client_service,network.dns_query,network.dns_qtype"},
	} {
		before := time.Now().Unix()
		run(t, command, "--addr", "http://"+l.Addr().String()+"/", "--from", "1h ago", "--to", "2030-01-02T03:04:05Z", "--filter", "a b", "--tags", "x:y,z:*", "--limit", "7")
		from := a.values.Get("from")
		a.values.Del("from")
		if a.path != want[0] || a.key != "first-key-of-two" || a.values.Encode() != "group_by="+url.QueryEscape(want[1])+"&limit=7&query=a+b&tags=x%3Ay%2Cz%3A%2A&to=1893553445" {
			t.Errorf("%s asked %s with the key %s for %s", command, a.path, a.key, a.values.Encode())
		}
		if seconds, err := parseWhen(from, time.Now()); err != nil || seconds < before-3600 || seconds > time.Now().Unix()-3600 {
			t.Errorf("from is %s", from)
		}
	}
}

// TestQueryAddress finds the API at the address in the settings of the daemon.
func TestQueryAddress(t *testing.T) {
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "api.sock")
	a := &apiAnswer{status: 200, body: someQueries}
	serveAnswer(t, listen(t, "unix", socket), a)
	l := listen(t, "tcp", "127.0.0.1:0")
	serveAnswer(t, l, a)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, address := range []string{"unix://" + socket, ":" + port, "0.0.0.0:" + port, "localhost:" + port} {
		setEnvironment(t, nil)
		file := writeEnvFile(t, "SOCKTALLY_LISTEN="+address)
		if code, stdout, stderr := run(t, "dns", "--env-file", file); code != 0 || !strings.Contains(stdout, "a.invalid") {
			t.Errorf("%s: %d %s", address, code, stderr)
		}
	}
	for addr, want := range map[string]string{":1": "http://127.0.0.1:1", "[::]:1": "http://[::1]:1", "192.0.2.1:1": "http://192.0.2.1:1", "localhost:1": "http://127.0.0.1:1", "https://h.invalid/": "https://h.invalid"} {
		if got, _, err := apiURL(addr, false); err != nil || got != want {
			t.Errorf("%s is %s, want %s; %v", addr, got, want, err)
		}
	}
	// The certificate may be for the name.
	for addr, want := range map[string]string{":1": "https://127.0.0.1:1", "localhost:1": "https://localhost:1"} {
		if got, _, err := apiURL(addr, true); err != nil || got != want {
			t.Errorf("%s is %s, want %s; %v", addr, got, want, err)
		}
	}
}

func TestQueryErrors(t *testing.T) {
	setEnvironment(t, nil)
	a := &apiAnswer{}
	l := listen(t, "tcp", "127.0.0.1:0")
	serveAnswer(t, l, a)
	gone := listen(t, "tcp", "127.0.0.1:0")
	gone.Close()
	at := l.Addr().String()
	for _, test := range []struct {
		status int
		body   string
		args   []string
		code   int
		says   string
	}{
		{400, `{"errors":["limit: one","from: two"]}`, []string{"--addr", at}, exitUsage, "socktally: ask http://" + at + ": 400 Bad Request: limit: one\nfrom: two\n"},
		{403, `{"errors":["no key"]}`, []string{"--addr", at}, exitFailed, "403 Forbidden: no key\n"},
		{429, `{"errors":["later"]}`, []string{"--addr", at}, exitFailed, "429 Too Many Requests: later\n"},
		{500, `{"errors":["broken"]}`, []string{"--addr", at}, exitFailed, "500 Internal Server Error: broken\n"},
		{502, `<html>`, []string{"--addr", at}, exitFailed, "502 Bad Gateway: <html>\n"},
		{0, "", []string{"--addr", gone.Addr().String()}, exitFailed, "nothing listens there; socktally run --listen 127.0.0.1:8127 does"},
		{0, "", []string{"--addr", "unix:///nonexistent/s"}, exitFailed, "nothing listens there"},
		{0, "", []string{"--addr", "x"}, exitUsage, `--addr "x": want host:port`},
		{0, "", []string{"--from", "soon"}, exitUsage, `--from "soon": want a time such as "15m ago"`},
		{0, "", []string{"--to", "-5m ago"}, exitUsage, `--to "-5m ago": want a time`},
		{0, "", []string{"--limit", "x"}, exitUsage, "invalid argument"},
		{0, "", []string{"now"}, exitUsage, "takes no arguments"},
		{0, "", []string{"--env-file", "/nonexistent/env"}, exitUsage, "read env file"},
	} {
		for _, command := range []string{"connections", "dns"} {
			a.status, a.body = test.status, test.body
			code, stdout, stderr := run(t, append([]string{command}, test.args...)...)
			if code != test.code || stdout != "" || !strings.Contains(stderr, test.says) {
				t.Errorf("%s %v: exit code %d, stdout %q, stderr %q; want %d and %q", command, test.args, code, stdout, stderr, test.code, test.says)
			}
		}
	}
}

func TestParseWhen(t *testing.T) {
	now := time.Unix(1_700_000_000, 5)
	for text, want := range map[string]int64{
		"now": 1_700_000_000, "15m ago": 1_699_999_100, " 1h30m ago ": 1_699_994_600, "2d ago": 1_699_827_200, "0s ago": 1_700_000_000,
		"1700000001": 1_700_000_001, "0": 0, "2023-11-14T22:13:20Z": 1_700_000_000, "2023-11-14T23:13:20+01:00": 1_700_000_000,
	} {
		if got, err := parseWhen(text, now); err != nil || got != want {
			t.Errorf("%q is %d, want %d; %v", text, got, want, err)
		}
	}
	for _, text := range []string{"", "ago", "15m", "-1", "-15m ago", "d ago", "-2d ago", "yesterday", "2023-11-14", "99999d ago"} {
		if got, err := parseWhen(text, now); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func FuzzParseWhen(f *testing.F) {
	for _, seed := range []string{"now", "15m ago", "5d ago", "1700000000", "2026-01-31T12:00:00Z", "1e9h ago"} {
		f.Add(seed)
	}
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := parseWhen(text, now); err == nil && strings.HasSuffix(strings.TrimSpace(text), "ago") && at > now.Unix() {
			t.Errorf("%q is in the future", text)
		}
	})
}
