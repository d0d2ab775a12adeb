package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const msgServed = "the API is served"

// apiRow is one row of an answer of either endpoint.
type apiRow struct {
	ID, Type   string
	Attributes struct {
		GroupBys json.RawMessage `json:"group_bys"`
		Metrics  []struct {
			Key   string
			Value float64
		}
		connectionCounters
	}
}

// connectionCounters are those of a connection that the talkers know the truth of.
type connectionCounters struct {
	BytesSentByClient   float64 `json:"bytes_sent_by_client"`
	BytesSentByServer   float64 `json:"bytes_sent_by_server"`
	PacketsSentByClient float64 `json:"packets_sent_by_client"`
	PacketsSentByServer float64 `json:"packets_sent_by_server"`
	RTT                 float64 `json:"rtt_micro_seconds"`
	Established         float64 `json:"tcp_established_connections"`
	Closed              float64 `json:"tcp_closed_connections"`
	Refusals            float64 `json:"tcp_refusals"`
	Resets              float64 `json:"tcp_resets"`
	Timeouts            float64 `json:"tcp_timeouts"`
	Retransmits         float64 `json:"tcp_retransmits"`
}

// ask runs a command that asks the API, and returns the rows by their id.
func ask(t *testing.T, command, addr string, args ...string) map[string]apiRow {
	t.Helper()
	p := start(t, nil, binary(t, socktally), append([]string{command, "--env-file", os.DevNull, "--addr", addr, "--json"}, args...)...)
	if code := p.wait(t); code != 0 {
		t.Fatalf("%s %v: exit code %d: %s", command, args, code, p.stderr.String())
	}
	var answer struct{ Data []apiRow }
	if err := json.Unmarshal([]byte(p.stdout.String()), &answer); err != nil {
		t.Fatalf("%v: %s", err, p.stdout.String())
	}
	rows := map[string]apiRow{}
	for _, r := range answer.Data {
		if _, twice := rows[r.ID]; twice {
			t.Errorf("the id %q is there twice", r.ID)
		}
		rows[r.ID] = r
	}
	return rows
}

// TestAPI has processes that name themselves talk to each other, and asks who talked to whom while no
// tally is due for an hour, and again after a restart.
func TestAPI(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	const addr = "127.0.0.1:8127"
	env := []string{
		"SOCKTALLY_FLOWS=auto", "SOCKTALLY_FLOWS_SCHEDULE=@every 1h", "SOCKTALLY_SCOPE=netns", "SOCKTALLY_FORWARD=stdout",
		"SOCKTALLY_LISTEN=" + addr, "SOCKTALLY_STATE_DIR=" + t.TempDir(), "DD_HOSTNAME=host-a", "SOCKTALLY_FLOW_TAGS=server_port",
	}
	d := startDaemon(t, env...)
	d.waitFor(t, msgFlows)
	const calls = 300
	server := startTalker(t, "serve", "DD_SERVICE=hucklebuck", "DD_ENV=prod")
	_, port, _ := net.SplitHostPort(server)
	startTalker(t, fmt.Sprintf("call %s %d", server, calls), "DD_SERVICE=checkout", "DD_VERSION=2.1", "DD_TAGS=team:networks,team:pay")
	startTalker(t, "call "+server+" 7", "DD_SERVICE=a, server_service:b")
	refusing := freePort(t, "tcp", "127.0.0.1")
	start(t, []string{"DD_SERVICE=gone"}, needTool(t, "curl"), "-s", "http://127.0.0.1:"+refusing).wait(t)

	id := "client_team:networks, client_team:pay, server_service:hucklebuck"
	check := func() {
		t.Helper()
		row, ok := ask(t, "connections", addr, "--group-by", "client_team,server_service", "--filter", "client_service:checkout")[id]
		if !ok || row.Type != "aggregated_connection" || string(row.Attributes.GroupBys) != `{"client_team":["networks","pay"],"server_service":["hucklebuck"]}` {
			t.Fatalf("got %+v", row)
		}
		a := row.Attributes
		if a.PacketsSentByClient < calls*3 || a.PacketsSentByServer < calls*2 || a.RTT <= 0 {
			t.Errorf("packets or the round trip time cannot be: %+v", a.connectionCounters)
		}
		a.PacketsSentByClient, a.PacketsSentByServer, a.RTT, a.Retransmits = 0, 0, 0, 0
		if want := (connectionCounters{BytesSentByClient: calls * askBytes, BytesSentByServer: calls * answerBytes, Established: calls, Closed: calls}); a.connectionCounters != want {
			t.Errorf("got  %+v\nwant %+v", a.connectionCounters, want)
		}
	}
	// The last connection may still be closing.
	eventually(t, func() error {
		row := ask(t, "connections", addr, "--group-by", "server_port", "--tags", "server_port:"+port)["server_port:"+port]
		if row.Attributes.Closed != calls+7 {
			return fmt.Errorf("%v of %d are closed", row.Attributes.Closed, calls+7)
		}
		return nil
	})
	check()

	// Every name, for the one flow whose every part is known.
	names := map[string]string{
		"client_service": "checkout", "client_env": "N/A", "client_version": "2.1", "server_service": "hucklebuck", "server_env": "prod",
		"network.client.ip": "127.0.0.1", "network.server.ip": "127.0.0.1", "client_ip": "127.0.0.1", "server_ip": "127.0.0.1",
		"client_port": "N/A", "server_port": port, "client_host": "host-a", "server_host": "host-a", "protocol": "tcp", "direction": "local",
		"client_container_id": "N/A", "server_domain": "N/A", "client_tier": "N/A",
	}
	for name, value := range names {
		rows := ask(t, "connections", addr, "--group-by", name, "--filter", "client_service:checkout")
		if row := rows[name+":"+value]; len(rows) != 1 || row.Attributes.Closed != calls {
			t.Errorf("%s: got %+v", name, rows)
		}
		rows = ask(t, "connections", addr, "--group-by", "client_service", "--filter", name+":"+strconv.Quote(value)+" client_service:checkout")
		if len(rows) != 1 {
			t.Errorf("a filter by %s: got %+v", name, rows)
		}
	}
	for _, process := range []string{"client_pid", "server_pid", "client_process", "server_process"} {
		if rows := ask(t, "connections", addr, "--group-by", process, "--filter", "client_service:checkout -"+process+":N/A"); len(rows) != 1 {
			t.Errorf("%s: got %+v", process, rows)
		}
	}
	if row := ask(t, "connections", addr, "--group-by", "client_service")["client_service:a%2C server_service:b"]; row.Attributes.Closed != 7 {
		t.Errorf("a service with a comma: %+v", row)
	}
	if row := ask(t, "connections", addr, "--group-by", "server_port", "--filter", "server_port:"+refusing)["server_port:"+refusing]; row.Attributes.Refusals != 1 || row.Attributes.Established != 0 {
		t.Errorf("a refused connection: %+v", row)
	}
	if rows := ask(t, "connections", addr, "--to", "10m ago"); len(rows) != 0 {
		t.Errorf("before the beginning: %+v", rows)
	}
	if rows := ask(t, "connections", addr, "--limit", "1"); len(rows) != 1 {
		t.Errorf("%d rows, want 1", len(rows))
	}

	// A second daemon has neither the address nor the store of the first.
	second := startDaemon(t, env...)
	if code := second.wait(t); code != 1 || !strings.Contains(second.stderr.String(), "address already in use") {
		t.Errorf("a second daemon: %d %s", code, second.stderr.String())
	}
	second = startDaemon(t, append(env, "SOCKTALLY_LISTEN=127.0.0.1:8128")...)
	if code := second.wait(t); code != 1 || !strings.Contains(second.stderr.String(), "in use by another process") {
		t.Errorf("a second daemon on the store: %d %s", code, second.stderr.String())
	}
	endsWell(t, d)
	// The metrics have every connection that the answers had.
	sum := 0.0
	for line := range strings.Lines(d.stdout.String()) {
		if value, ok := strings.CutPrefix(line, "socktally.flow.closed:"); ok && strings.Contains(line, "server_port:"+port) {
			value, _, _ = strings.Cut(value, "|")
			sum += number(t, value)
		}
	}
	if sum != calls+7 {
		t.Errorf("the metrics have %v closed connections, want %d", sum, calls+7)
	}

	d = startDaemon(t, env...)
	d.waitFor(t, msgServed)
	check() // what is kept
	// A daemon that is killed leaves its store in order, and its address free.
	d.kill()
	d = startDaemon(t, env...)
	d.waitFor(t, msgServed)
	check()
	endsWell(t, d)
}

// TestAPIDNS asks a real DNS server, and the API how that went.
func TestAPIDNS(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	dnsmasq, dig := needTool(t, "dnsmasq"), needTool(t, "dig")
	socket := filepath.Join(shortDir(t), "api.sock")
	d := startDaemon(t, "SOCKTALLY_FLOWS=ebpf", "SOCKTALLY_FLOWS_SCHEDULE=@every 1h", "SOCKTALLY_FORWARD=stdout", "SOCKTALLY_LISTEN=unix://"+socket, "DD_HOSTNAME=host-a")
	d.waitFor(t, msgFlows)
	start(t, []string{"DD_SERVICE=resolver"}, dnsmasq, "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file="+os.DevNull, "--user=root", "--pid-file=",
		"--bind-interfaces", "--except-interface=none", "--listen-address=127.0.0.1", "--cache-size=0",
		"--address=/yes.invalid/192.0.2.1", "--local=/no.invalid/")
	const byName = "client_process,network.dns_query"
	query := func(name string) {
		start(t, []string{"HOME=" + t.TempDir()}, dig, "@127.0.0.1", "+short", "+tries=1", "+timeout=5", name).wait(t)
	}
	eventually(t, func() error { // until it listens
		query("first.no.invalid")
		if row := ask(t, "dns", "unix://"+socket, "--group-by", byName, "--filter", "network.dns_query:first*")["client_process:dig,network.dns_query:first.no.invalid"]; dnsMetric(row, "dns_responses.nxdomain") == 0 {
			return fmt.Errorf("got %+v", row)
		}
		return nil
	})
	const answered, missing = 20, 5
	for range answered {
		query("yes.invalid")
	}
	for range missing {
		query("no.invalid")
	}
	var rows map[string]apiRow
	eventually(t, func() error { // a question tallies, if the last tally is a while ago
		rows = ask(t, "dns", "unix://"+socket, "--group-by", byName, "--filter", "NOT network.dns_query:first* network.dns_qtype:A")
		requests := 0.0
		for _, row := range rows {
			requests += dnsMetric(row, "dns_total_requests")
		}
		if requests < answered+missing {
			return fmt.Errorf("%v of %d queries are tallied", requests, answered+missing)
		}
		return nil
	})
	yes, no := rows["client_process:dig,network.dns_query:yes.invalid"], rows["client_process:dig,network.dns_query:no.invalid"]
	if len(rows) != 2 || yes.Type != "aggregated_dns" || dnsMetric(yes, "dns_total_requests") != answered || dnsMetric(yes, "dns_successful_responses") != answered ||
		dnsMetric(yes, "dns_failures") != 0 || dnsMetric(yes, "dns_success_latency_percentile") <= 0 {
		t.Errorf("got %+v", rows)
	}
	if dnsMetric(no, "dns_total_requests") != missing || dnsMetric(no, "dns_responses.nxdomain") != missing || dnsMetric(no, "dns_failed_responses") != missing ||
		dnsMetric(no, "dns_failures") != missing || dnsMetric(no, "dns_failure_latency_percentile") <= 0 {
		t.Errorf("got %+v", no)
	}
	all := ask(t, "dns", "unix://"+socket, "--group-by", "server_ungrouped", "--filter", "NOT network.dns_query:first*")
	if row := all["server_ungrouped"]; len(all) != 1 || dnsMetric(row, "dns_total_requests") != answered+missing {
		t.Errorf("got %+v", all)
	}
	if rows := ask(t, "dns", "unix://"+socket, "--group-by", "client_host,server_service,server_host,network.server.ip,server_port", "--limit", "1"); len(rows) != 1 ||
		rows["client_host:host-a,server_service:resolver,server_host:host-a,network.server.ip:127.0.0.1,server_port:53"].ID == "" {
		t.Errorf("got %+v", rows)
	}
	endsWell(t, d)
}

func dnsMetric(row apiRow, key string) float64 {
	for _, m := range row.Attributes.Metrics {
		if m.Key == key {
			return m.Value
		}
	}
	return -1
}
