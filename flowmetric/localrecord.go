package flowmetric

import (
	"net/netip"
	"socktally/record"
)

// view is a record as the end on this host sees it. Where both ends are here, that is the client's.
type localRecord struct {
	protocol, family string
	source           record.Source
	direction        record.Direction
	client, server   *record.Endpoint
	local, remote    *record.Endpoint
	// serverDomain is the name by which DNS gave the server's address.
	serverDomain string
	// Of a DNS query.
	query, queryType string
	// Of the far end's network.
	networkName string
	networkTags []string
}

func (s *Splitter) localFlow(r *record.Flow) *localRecord {
	s.current = localRecord{
		protocol: r.Protocol, family: r.Family, source: r.Source, direction: r.Direction,
		client: &r.Client, server: &r.Server, serverDomain: r.ServerDomain,
	}
	s.findEnds(&s.current)
	return &s.current
}

func (s *Splitter) localDNS(r *record.DNS) *localRecord {
	s.current = localRecord{
		protocol: r.Protocol, family: record.Family(r.Server.Addr), source: record.FromEBPF, direction: r.Direction,
		client: &r.Client, server: &r.Server, query: r.Name, queryType: r.Type,
	}
	s.findEnds(&s.current)
	return &s.current
}

// findEnds finds the ends and what the table of networks says of the far one.
func (s *Splitter) findEnds(v *localRecord) {
	v.local, v.remote = v.direction.Ends(v.client, v.server)
	v.networkName, v.networkTags = s.network(v.remote.Addr)
}

// remote names the far end, or returns "" if it has no name. One that looks like an address could pass
// for the address of somebody else.
func (v *localRecord) remoteName() string {
	if v.networkName != "" {
		return v.networkName
	}
	if v.serverDomain == "" || v.remote != v.server {
		return ""
	}
	if _, err := netip.ParseAddr(v.serverDomain); err == nil {
		return ""
	}
	return v.serverDomain
}
