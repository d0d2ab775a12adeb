package flows

import (
	"context"
	"fmt"

	"socktally/dns"
	"socktally/record"
)

// TallyDNS returns what became of DNS queries since the last TallyDNS or since Open, in no particular
// order. It returns none where UDP or DNS is not counted: see Coverage.
func (c *Counter) TallyDNS(ctx context.Context) ([]record.DNS, error) {
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
	records := make([]record.DNS, 0, len(taken))
	for k, counts := range taken {
		m := c.udpMerger
		if k.TCP {
			m = c.merger
		}
		records = append(records, m.dnsRecord(k, counts))
	}
	return records, nil
}

func (m *merger) dnsRecord(k dns.Key[dnsSocket], counts *record.DNSCounts) record.DNS {
	r := record.DNS{
		Protocol:  m.protocol,
		Direction: record.Outgoing,
		Client:    record.Endpoint{Addr: k.Client},
		Server:    record.Endpoint{Addr: k.Server.Addr(), Port: k.Server.Port()},
		Name:      k.Name, Type: k.Type, DNSCounts: *counts,
	}
	owner := m.describer.describe(k.Owner.owner)
	if k.Owner.isServer {
		r.Server.Owner, r.Direction = owner, record.Incoming
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
	if server, ok := m.servers.Get(p); ok {
		r.Server.Owner, r.Direction = m.describer.describe(server), record.Local
	}
	return r
}
