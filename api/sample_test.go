package api

import (
	"encoding/json"
	"reflect"
	"socktally/record"
	"testing"
	"time"
)

// The samples of Datadog's own page.
const (
	connectionSample = `{"data": [{
		"attributes": {
			"bytes_sent_by_client": 100, "bytes_sent_by_server": 200,
			"group_bys": {"client_team": ["networks"], "server_service": ["hucklebuck"]},
			"packets_sent_by_client": 10, "packets_sent_by_server": 20, "rtt_micro_seconds": 800,
			"tcp_closed_connections": 30, "tcp_established_connections": 40, "tcp_refusals": 7,
			"tcp_resets": 5, "tcp_retransmits": 30, "tcp_timeouts": 6
		},
		"id": "client_team:networks, server_service:hucklebuck", "type": "aggregated_connection"
	}]}`
	// What the page does not show and the client knows: each is 0 here, and the two counts that not every
	// kernel has are left out.
	newerCounters = `{"tcp_delivered_ce": 0, "tcp_rcv_ooo_pack": 0, "tcp_reord_seen": 0}`

	dnsSample = `{"data": [{
		"attributes": {
			"group_bys": [{"key": "client_service", "value": "example-service"}, {"key": "network.dns_query", "value": "example.com"}],
			"metrics": [
				{"key": "dns_total_requests", "value": 100}, {"key": "dns_failures", "value": 7},
				{"key": "dns_successful_responses", "value": 93}, {"key": "dns_failed_responses", "value": 5},
				{"key": "dns_timeouts", "value": 2}, {"key": "dns_responses.nxdomain", "value": 1},
				{"key": "dns_responses.servfail", "value": 1}, {"key": "dns_responses.other", "value": 3},
				{"key": "dns_success_latency_percentile", "value": 50}, {"key": "dns_failure_latency_percentile", "value": 75}
			]
		},
		"id": "client_service:example-service,network.dns_query:example.com", "type": "aggregated_dns"
	}]}`
)

func parseJSON(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func TestConnectionSample(t *testing.T) {
	part := func(c record.Counters) record.Flow {
		return flowOf(0, func(r *record.Flow) {
			r.Client.Owner.Tags = []string{"x:y", "team:networks"}
			r.Server.Owner.Service = "hucklebuck"
			r.Counters = c
		})
	}
	s := newServer(t, &memory{connections: []record.Flow{
		part(record.Counters{BytesSentByClient: 60, BytesSentByServer: 200, PacketsSentByClient: 4, PacketsSentByServer: 15, RTTSum: 2000, RTTSamples: 2, Established: 40, Closed: 10, Refusals: 7}),
		part(record.Counters{BytesSentByClient: 40, PacketsSentByClient: 6, PacketsSentByServer: 5, RTTSum: 400, RTTSamples: 1, Closed: 20, Resets: 5, Retransmits: 30, Timeouts: 6}),
	}}, nil)
	_, body := get(t, s, ConnectionsPath, "group_by=client_team,server_service")
	want := parseJSON(t, connectionSample)
	attributes := want["data"].([]any)[0].(map[string]any)["attributes"].(map[string]any)
	for name, value := range parseJSON(t, newerCounters) {
		attributes[name] = value
	}
	if got := parseJSON(t, body); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestDNSSample(t *testing.T) {
	part := dnsOf("example.com", 60, func(r *record.DNS) {
		r.Client.Owner.Service = "example-service"
		r.DNSCounts = record.DNSCounts{Requests: 60, Successes: 53, NXDomain: 1, OtherFailures: 3, Timeouts: 2}
	})
	other := part
	other.Type, other.DNSCounts = "AAAA", record.DNSCounts{Requests: 40, Successes: 40, ServFail: 1}
	for range 46 {
		part.SuccessLatency.Add(50 * time.Microsecond)
		other.SuccessLatency.Add(50 * time.Microsecond)
	}
	part.FailureLatency.Add(30 * time.Microsecond)
	other.FailureLatency.Add(75 * time.Microsecond)
	s := newServer(t, &memory{dns: []record.DNS{part, other}}, nil)
	// The name asked for is the server's side of a grouping that has no other.
	for _, groupBy := range []string{"client_service,network.dns_query", "client_service"} {
		_, body := get(t, s, DNSPath, "group_by="+groupBy)
		if got, want := parseJSON(t, body), parseJSON(t, dnsSample); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %v\nwant %v", groupBy, got, want)
		}
	}
}
