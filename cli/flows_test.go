package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"socktally/record"
	"strings"
	"testing"
	"time"
)

// sampleRecords are two flows and an overflow record. Some names have control characters.
func sampleRecords() []record.Flow {
	return []record.Flow{
		{
			Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Outgoing,
			Client: record.Endpoint{Addr: netip.MustParseAddr("10.1.2.3"), Owner: record.Owner{PID: 7, Process: "curl", Service: "cu\x1b[2Jrl\nü"}},
			Server: record.Endpoint{Addr: netip.MustParseAddr("10.9.8.7"), Port: 443}, ServerDomain: "big.invalid",
			Counters: record.Counters{BytesSentByClient: 1536, BytesSentByServer: 5 << 30, RTTSum: 2468, RTTSamples: 2, Retransmits: 3, Established: 2, Closed: 1},
		},
		{
			Protocol: "tcp", Family: "ipv6", Source: record.FromEBPF, Direction: record.Incoming,
			Client:   record.Endpoint{Addr: netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")},
			Server:   record.Endpoint{Addr: netip.MustParseAddr("2001:db8::1"), Port: 8080, Owner: record.Owner{PID: 8, Process: "nginx", Service: "nginx"}},
			Counters: record.Counters{BytesSentByClient: 1023, Refusals: 1, Resets: 2, Timeouts: 3, Unreachables: 4},
		},
		{Protocol: "tcp", Source: record.FromEBPF, Direction: record.Outgoing, Counters: record.Counters{BytesSentByClient: 1}},
	}
}

func TestFlowTable(t *testing.T) {
	const want = `
CLIENT                                  SERVER                      PROTO  DIRECTION   SENT  RECEIVED     RTT  OPENED  CLOSED  RETRANS  FAILED
10.1.2.3 cu?[2Jrl??                     10.9.8.7:443 (big.invalid)    tcp   outgoing  1.5Ki     5.0Gi  1.23ms       2       1        3       -
2001:db8:1111:2222:3333:4444:5555:6666  [2001:db8::1]:8080 nginx      tcp   incoming   1023         0       -       -       -        -      10
(all others)                            (all others)                  tcp   outgoing      1         0       -       -       -        -       -
`
	if got := "\n" + strings.Join(flowTable.lines(sampleRecords(), 0), "\n") + "\n"; got != want {
		t.Errorf("table is%s\nwant%s", got, want)
	}
}

func TestDNSTable(t *testing.T) {
	records := []record.DNS{
		{
			Protocol: "udp", Name: "www.example.invalid", Type: "A",
			Client:    record.Endpoint{Addr: netip.MustParseAddr("10.1.2.3"), Owner: record.Owner{PID: 7, Service: "web"}},
			Server:    record.Endpoint{Addr: netip.MustParseAddr("10.0.0.53"), Port: 53},
			DNSCounts: record.DNSCounts{Requests: 9, Successes: 1, NXDomain: 2, ServFail: 3, OtherFailures: 1, Timeouts: 2},
		},
		{Protocol: "udp", Name: record.Other, Type: record.Other, DNSCounts: record.DNSCounts{Requests: 1}},
	}
	records[0].SuccessLatency.Add(2 * time.Millisecond)
	const want = `
QUERY                CLIENT        SERVER         TYPE  PROTO  REQUESTS  OK  NXDOMAIN  SERVFAIL  OTHER  TIMEOUT  P50  P99
www.example.invalid  10.1.2.3 web  10.0.0.53:53      A    udp         9   1         2         3      1        2  2ms  2ms
other                (all others)  (all others)  other    udp         1   -         -         -      -        -    -    -
`
	if got := "\n" + strings.Join(dnsTable.lines(records, 0), "\n") + "\n"; got != want {
		t.Errorf("table is%s\nwant%s", got, want)
	}
}

func TestFlowTableFitsTheWidth(t *testing.T) {
	for width := 40; width < 140; width++ {
		lines := flowTable.lines(sampleRecords(), width)
		for _, line := range lines {
			if len(line) > width {
				t.Fatalf("width %d: %q has %d columns", width, line, len(line))
			}
		}
		for _, title := range []string{"CLIENT", "SERVER", "SENT", "RECEIVED"} {
			if !strings.Contains(lines[0], title) {
				t.Errorf("width %d: the column %s is gone", width, title)
			}
		}
	}
	for _, width := range []int{1, 5, 20} { // too narrow for anything, and no panic
		flowTable.lines(sampleRecords(), width)
	}
}

// TestTallyHasValidNames has a process with invalid names, also in its environment.
func TestTallyHasValidNames(t *testing.T) {
	const bad, want = "c\n|#,\x01\xff\x1b[2J", "c\uFFFD|#,\uFFFD[2J"
	v := listing[record.Flow]{clean: (*record.Flow).CleanNames, compare: compareFlows, count: func(context.Context) ([]record.Flow, error) {
		return []record.Flow{{Protocol: "tcp", Client: record.Endpoint{Owner: record.Owner{Process: bad, Service: bad}}, ServerDomain: "db.invalid"}}, nil
	}}
	rows, err := v.tally(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatalf("got %+v, %v", rows, err)
	}
	if r := rows[0]; r.Client.Owner.Process != want || r.Client.Owner.Service != want || r.ServerDomain != "db.invalid" {
		t.Errorf("got %+v", r)
	}
}

func TestByteSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 1023: "1023", 1024: "1.0Ki", 1 << 20: "1.0Mi", 1<<64 - 1: "16.0Ei"} {
		if got := byteSize(n); got != want {
			t.Errorf("byteSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestFlowsUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		env  map[string]string
		says string
	}{
		{[]string{"flows"}, nil, "socktally: the output is not a terminal: want --once or --json\n"},
		{[]string{"flows", "--once", "--interval", "0s"}, nil, "socktally: --interval 0s: want 100ms or more\n"},
		{[]string{"flows", "--once", "--interval", "soon"}, nil, "invalid argument"},
		{[]string{"flows", "--once", "now"}, nil, "takes no arguments"},
		{[]string{"flows", "--once"}, map[string]string{"SOCKTALLY_FLOWS": "off"}, `SOCKTALLY_FLOWS="off": want auto, ebpf or sockdiag`},
		{[]string{"flows", "--once", "--dns"}, map[string]string{"SOCKTALLY_FLOWS_UDP": "off"}, `SOCKTALLY_FLOWS_UDP="off": want on to see DNS`},
		{[]string{"flows", "--once", "--dns"}, map[string]string{"SOCKTALLY_DNS_PORTS": "none"}, `SOCKTALLY_DNS_PORTS="none": want ports to see DNS`},
		{[]string{"flows", "--once"}, map[string]string{"SOCKTALLY_FLOWS": "maybe"}, `SOCKTALLY_FLOWS="maybe"`},
	} {
		setEnvironment(t, test.env)
		code, stdout, stderr := run(t, test.args...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, test.says) {
			t.Errorf("%v with %v: exit code %d, stdout %q, stderr %q; want 2 and %q", test.args, test.env, code, stdout, stderr, test.says)
		}
	}
}

// TestFlowsJSONNames checks the names that users depend on.
func TestFlowsJSONNames(t *testing.T) {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(sampleRecords()[0]); err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(b.Bytes(), &object); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range object {
		names = append(names, name)
	}
	for _, want := range strings.Fields(`
		protocol family source direction
		client_ip client_port client_pid client_process client_service client_container_id
		server_ip server_port server_pid server_process server_service server_container_id
		bytes_sent_by_client bytes_sent_by_server packets_sent_by_client packets_sent_by_server
		rtt_micro_seconds tcp_retransmits tcp_established_connections tcp_closed_connections
		tcp_refusals tcp_resets tcp_timeouts`) {
		if !slices.Contains(names, want) {
			t.Errorf("the object lacks %s: %v", want, names)
		}
	}
}
