package api

import (
	"encoding/json"
	"net/http"
	"socktally/api/answer"
	"socktally/record"
	"strings"
	"testing"
	"time"
)

// withEverything has a record of each kind of which every counter has a number of its own: 100 and its place in
// the table.
func withEverything() *memory {
	flow := flowOf(0, func(r *record.Flow) { r.Known = record.KnowsRTOCount | record.KnowsRecoveryCount })
	for i, f := range record.Fields() {
		*f.Of(&flow.Counters) = uint64(100 + i)
	}
	flow.RTTSum = 8 * flow.RTTSamples
	dns := dnsOf("a.invalid", 0, nil)
	for i, f := range record.DNSFields() {
		*f.Of(&dns.DNSCounts) = uint64(100 + i)
	}
	dns.SuccessLatency.Add(7 * time.Microsecond)
	dns.FailureLatency.Add(8 * time.Microsecond)
	return &memory{connections: []record.Flow{flow}, dns: []record.DNS{dns}}
}

// TestAnswersAreOfTheirTypes reads each answer into the type that answer has for it: nothing is unknown there, and
// written again it is the same, the order included.
func TestAnswersAreOfTheirTypes(t *testing.T) {
	for _, m := range []*memory{withEverything(), {connections: mixed(), dns: []record.DNS{dnsOf("<a&b>", 1, nil)}}, {}} {
		s := newServer(t, m, nil)
		for path, into := range map[string]any{ConnectionsPath: new(answer.Connections), DNSPath: new(answer.DNS)} {
			code, body := get(t, s, path)
			d := json.NewDecoder(strings.NewReader(body))
			d.DisallowUnknownFields()
			if err := d.Decode(into); err != nil || code != http.StatusOK {
				t.Errorf("%d %s: %v", code, body, err)
				continue
			}
			if again, err := json.Marshal(into); err != nil || string(again) != body {
				t.Errorf("%s is\n%s, and written again, %v,\n%s", path, body, err, again)
			}
		}
	}
}

// TestEveryNumber has the numbers of an answer in their order.
func TestEveryNumber(t *testing.T) {
	s := newServer(t, withEverything(), nil)
	for path, want := range map[string]string{
		ConnectionsPath: `{"data":[{"attributes":{"bytes_sent_by_client":100,"bytes_sent_by_server":101,` +
			`"group_bys":{"client_service":["checkout"],"server_service":["N/A"]},"packets_sent_by_client":102,"packets_sent_by_server":103,` +
			`"rtt_micro_seconds":8,"tcp_closed_connections":108,"tcp_delivered_ce":115,"tcp_established_connections":107,"tcp_rcv_ooo_pack":117,` +
			`"tcp_recovery_count":114,"tcp_refusals":109,"tcp_reord_seen":116,"tcp_resets":110,"tcp_retransmits":106,"tcp_rto_count":113,"tcp_timeouts":111},` +
			`"id":"client_service:checkout, server_service:N/A","type":"aggregated_connection"}]}`,
		DNSPath: `{"data":[{"attributes":{"group_bys":[{"key":"network.dns_query","value":"a.invalid"}],"metrics":[` +
			`{"key":"dns_total_requests","value":100},{"key":"dns_failures","value":414},{"key":"dns_successful_responses","value":101},` +
			`{"key":"dns_failed_responses","value":309},{"key":"dns_timeouts","value":105},{"key":"dns_responses.nxdomain","value":102},` +
			`{"key":"dns_responses.servfail","value":103},{"key":"dns_responses.other","value":104},` +
			`{"key":"dns_success_latency_percentile","value":7},{"key":"dns_failure_latency_percentile","value":8}]},` +
			`"id":"network.dns_query:a.invalid","type":"aggregated_dns"}]}`,
	} {
		if _, body := get(t, s, path); body != want {
			t.Errorf("got\n%s\nwant\n%s", body, want)
		}
	}
}

// TestNewCounter adds a counter to each table, which then is in the answers, whoever else knows it.
func TestNewCounter(t *testing.T) {
	m := withEverything()
	m.connections = append(m.connections, m.connections[0])
	m.dns = append(m.dns, m.dns[0])
	added := func(knows record.Known) *Server {
		s := newServer(t, m, nil)
		s.routes = s.route(endpoints(
			append(record.Fields(), record.Field[record.Counters]{Name: "tcp_new", Optional: knows, Of: func(c *record.Counters) *uint64 { return &c.Unreachables }}),
			append(record.DNSFields(), record.Field[record.DNSCounts]{Name: "dns_new", Of: func(c *record.DNSCounts) *uint64 { return &c.NXDomain }}),
		))
		return s
	}
	for path, want := range map[string]string{ConnectionsPath: `,"tcp_new":224,`, DNSPath: `,{"key":"dns_new","value":204},`} {
		if _, body := get(t, added(0), path); !strings.Contains(body, want) {
			t.Errorf("want %s in %s", want, body)
		}
		if _, body := get(t, newServer(t, m, nil), path); strings.Contains(body, "_new") {
			t.Errorf("a counter that is in no table: %s", body)
		}
	}
	// One that not every kernel has is left out where it is not known.
	if _, body := get(t, added(1<<7), ConnectionsPath); strings.Contains(body, "tcp_new") {
		t.Error(body)
	}
}
