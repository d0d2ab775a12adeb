package flows

import (
	"context"
	"encoding/json"
	"fmt"

	"socktally/dns"
)

// DNSRecord is what became, in one interval, of the queries that one client sent to one server for
// one name and type. A record whose Name is dns.Other sums names that found no room; if it has no
// addresses either, also clients and servers.
type DNSRecord struct {
	Protocol       string // "udp" or "tcp"
	Client, Server Endpoint
	Name           string // lower case, without the last dot
	Type           string
	dns.Counts
}

// TallyDNS returns what became of DNS queries since the last TallyDNS or since Open, in no particular
// order. It returns none where UDP or DNS is not counted: see Coverage.
func (c *Counter) TallyDNS(ctx context.Context) ([]DNSRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return nil, errClosed
	}
	if c.udp == nil || c.udp.dns == nil {
		return nil, nil
	}
	if err := c.udp.dns.catchUp(ctx); err != nil {
		return nil, fmt.Errorf("tally DNS: %w", err)
	}
	taken := c.udp.dns.take()
	c.shared.catchUp(ctx)
	records := make([]DNSRecord, 0, len(taken))
	for k, counts := range taken {
		m := c.udpMerger
		if k.TCP {
			m = c.merger
		}
		records = append(records, m.dnsRecord(k, counts))
	}
	return records, nil
}

func (m *merger) dnsRecord(k dns.Key[dnsSocket], counts *dns.Counts) DNSRecord {
	r := DNSRecord{
		Protocol: m.protocol,
		Client:   Endpoint{Addr: k.Client},
		Server:   Endpoint{Addr: k.Server.Addr(), Port: k.Server.Port()},
		Name:     k.Name, Type: k.Type, Counts: *counts,
	}
	owner := m.describer.describe(k.Owner.owner)
	if k.Owner.isServer {
		r.Server.Owner = owner
		return r
	}
	r.Client.Owner = owner
	if !k.Client.IsValid() {
		return r
	}
	p := pair{client: k.Client.As16(), server: k.Server.Addr().As16(), clientPID: k.Owner.owner.pid, port: k.Server.Port()}
	if p.client == p.server || k.Server.Addr().IsLoopback() {
		p.netns = k.Owner.owner.netns
	}
	if server, ok := m.servers.get(p); ok {
		r.Server.Owner = m.describer.describe(server)
	}
	return r
}

// percentilesJSON are of a latency, in microseconds.
type percentilesJSON struct {
	P50 uint64 `json:"p50"`
	P75 uint64 `json:"p75"`
	P95 uint64 `json:"p95"`
	P99 uint64 `json:"p99"`
	Max uint64 `json:"max"`
}

// percentiles is nil where there is no latency.
func percentiles(l *dns.Latency) *percentilesJSON {
	if l.Count() == 0 {
		return nil
	}
	return &percentilesJSON{l.Percentile(50), l.Percentile(75), l.Percentile(95), l.Percentile(99), l.Percentile(100)}
}

// MarshalJSON gives one flat object, but for the percentiles of the latencies, in microseconds.
func (r DNSRecord) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Protocol string `json:"protocol"`
		endsJSON
		Query           string           `json:"dns_query"`
		Type            string           `json:"dns_qtype"`
		Requests        uint64           `json:"dns_total_requests"`
		Successes       uint64           `json:"dns_successful_responses"`
		FailedResponses uint64           `json:"dns_failed_responses"`
		NXDomain        uint64           `json:"dns_responses.nxdomain"`
		ServFail        uint64           `json:"dns_responses.servfail"`
		Other           uint64           `json:"dns_responses.other"`
		Timeouts        uint64           `json:"dns_timeouts"`
		Failures        uint64           `json:"dns_failures"`
		SuccessLatency  *percentilesJSON `json:"dns_success_latency_percentile,omitempty"`
		FailureLatency  *percentilesJSON `json:"dns_failure_latency_percentile,omitempty"`
	}{
		r.Protocol, endsOf(&r.Client, &r.Server),
		r.Name, r.Type, r.Requests, r.Successes, r.FailedResponses(), r.NXDomain, r.ServFail, r.OtherFailures,
		r.Timeouts, r.Failures(), percentiles(&r.SuccessLatency), percentiles(&r.FailureLatency),
	})
}
