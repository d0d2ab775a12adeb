package flowmetric

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"socktally/metric"
	"socktally/record"
)

func query(service, name string, latencies ...time.Duration) record.DNS {
	r := record.DNS{
		Direction: record.Outgoing,
		Protocol:  "udp", Name: name, Type: "AAAA",
		Client: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{PID: 7, Service: service}},
		Server: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.53"), Port: 53},
	}
	r.Requests, r.Successes = uint64(len(latencies)), uint64(len(latencies))
	for _, d := range latencies {
		r.SuccessLatency.Add(d)
	}
	return r
}

// byTag returns the values of one metric by its tags.
func byTag(samples []metric.Sample, name string) map[string]float64 {
	values := map[string]float64{}
	for _, m := range samples {
		if m.Name == name {
			values[strings.Join(m.Tags, ",")] += m.Value
		}
	}
	return values
}

func TestDNSTags(t *testing.T) {
	s := newSplitter(t, 10, "direction", "protocol", "family", "source", "server_domain", "service", "remote", "server_port", "dns_query", "dns_qtype")
	hostile := query("Web", `x\010socktally.dns.timeouts:9|c|#a:b,c`, time.Millisecond)
	served := query("", "a.invalid", time.Millisecond)
	served.Direction = record.Incoming
	served.Client.Owner, served.Server.Owner = record.Owner{}, record.Owner{PID: 9, NetNS: 1, Service: "Resolver"}
	within := query("web", "a.invalid", time.Millisecond)
	within.Direction = record.Local
	within.Server.Owner = record.Owner{PID: 9, Service: "resolver"}
	unknown := record.DNS{Name: record.Other, Type: record.Other}
	unknown.Requests = 5
	samples := s.DNSSamples([]record.DNS{hostile, served, within, unknown}, start, interval)
	want := map[string]float64{
		"direction:outgoing,protocol:udp,family:ipv4,service:web,remote:10.0.0.53,server_port:53,dns_query:x_010socktally.dns.timeouts:9_c_a:b_c,dns_qtype:aaaa": 1,
		"direction:incoming,protocol:udp,family:ipv4,service:resolver,remote:10.0.0.1,server_port:53,dns_query:a.invalid,dns_qtype:aaaa":                         1,
		"direction:local,protocol:udp,family:ipv4,service:web,remote:10.0.0.53,server_port:53,dns_query:a.invalid,dns_qtype:aaaa":                                1,
		"direction:other,protocol:other,family:other,service:other,remote:other,server_port:other,dns_query:other,dns_qtype:other":                               5,
	}
	if got := byTag(samples, metric.DNSTotalRequests); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if s.DNSSamples(nil, start, interval) != nil {
		t.Error("what is not tallied has metrics")
	}
}

// TestDNSLatencies merges the latencies of two names. In the next interval, one of them has a slot.
func TestDNSLatencies(t *testing.T) {
	s := newSplitter(t, 10, "service")
	fast, slow := query("web", "a.invalid"), query("web", "b.invalid")
	for i := range 98 {
		fast.SuccessLatency.Add(time.Duration(i%10+1) * time.Millisecond)
	}
	slow.SuccessLatency.Add(time.Second)
	slow.SuccessLatency.Add(2 * time.Second)
	slow.NXDomain, slow.ServFail, slow.OtherFailures, slow.Timeouts = 1, 2, 4, 8
	slow.FailureLatency.Add(time.Millisecond)
	for range 2 { // the first round must change no record, and nothing of it may be in the second
		samples := s.DNSSamples([]record.DNS{fast, slow}, start, interval)
		for name, want := range map[string]float64{
			"success_latency.p50": 0.005, "success_latency.p95": 0.010, "success_latency.p99": 1, "success_latency.max": 2,
			"failure_latency.p50": 0.001, "failure_latency.max": 0.001,
			"responses.nxdomain": 1, "responses.servfail": 2, "responses.other": 4, "failed_responses": 7, "timeouts": 8, "failures": 15,
		} {
			if got := byTag(samples, "socktally.dns."+name); len(got) != 1 || math.Abs(got["service:web"]-want) > 0.011*want {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
}

var dnsRecord = rapid.Custom(func(t *rapid.T) record.DNS {
	r := record.DNS{Protocol: rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "protocol")}
	for _, n := range []*uint64{&r.Requests, &r.Successes, &r.NXDomain, &r.ServFail, &r.OtherFailures, &r.Timeouts} {
		*n = value.Draw(t, "n")
	}
	for range rapid.IntRange(0, 3).Draw(t, "latencies") {
		r.SuccessLatency.Add(time.Duration(rapid.IntRange(0, 15e9).Draw(t, "latency")))
	}
	if rapid.IntRange(0, 9).Draw(t, "overflow") > 0 {
		r.Client = record.Endpoint{Addr: addr.Draw(t, "client"), Owner: owner().Draw(t, "client owner")}
		r.Server = record.Endpoint{Addr: addr.Draw(t, "server"), Port: rapid.Uint16Range(0, 3).Draw(t, "port"), Owner: owner().Draw(t, "server owner")}
		r.Name, r.Type = text.Draw(t, "name"), rapid.SampledFrom([]string{"A", "AAAA", "TYPE999"}).Draw(t, "type")
	}
	return r
})

func dnsTotals(records []record.DNS) map[string]uint64 {
	sums := map[string]uint64{}
	for _, r := range records {
		sums[metric.DNSTotalRequests] += r.Requests
		sums[metric.DNSSuccessfulResponses] += r.Successes
		sums[metric.DNSFailedResponses] += r.NXDomain + r.ServFail + r.OtherFailures
		sums[metric.DNSFailures] += r.NXDomain + r.ServFail + r.OtherFailures + r.Timeouts
		sums[metric.DNSTimeouts] += r.Timeouts
		sums[metric.DNSNXDomain] += r.NXDomain
		sums[metric.DNSServFail] += r.ServFail
		sums[metric.DNSOtherFailures] += r.OtherFailures
	}
	return sums
}

// TestDNSSumsAndBudget checks for DNS what TestSumsAndBudget checks for flows.
func TestDNSSumsAndBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := tagNames.Draw(t, "tags")
		budget := rapid.IntRange(1, 12).Draw(t, "budget")
		s, err := New(Options{Tags: names, MaxCombinations: budget})
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "networks") {
			s.SetNetworks(someNetworks{})
		}
		for range rapid.IntRange(1, 5).Draw(t, "intervals") {
			records := rapid.SliceOfN(dnsRecord, 0, 30).Draw(t, "records")
			check(t, s.DNSSamples(records, start, interval), dnsTotals(records), without(names, onlyFlows), budget)
		}
	})
}
