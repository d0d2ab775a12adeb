package flowmetric

import (
	"net/netip"
	"socktally/record"
)

// localRecord is a record from the point of view of the end on this host. If both ends are on this host, the client is the
// local one.
type localRecord struct {
	protocol, family string
	source           record.Source
	direction        record.Direction
	client, server   *record.Endpoint
	local, remote    *record.Endpoint
	// serverDomain is the name for which DNS gave the address of the server.
	serverDomain string
	// query and queryType are only for DNS.
	query, queryType string
	// networkName and networkTags are those of the remote end's network.
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

// findEnds finds the local and the remote end, and the network of the remote end.
func (s *Splitter) findEnds(v *localRecord) {
	v.local, v.remote = v.direction.Ends(v.client, v.server)
	v.networkName, v.networkTags = s.network(v.remote.Addr)
}

// remoteName is the name of the remote end, "" if it has none. A name that looks like an address is not used: it could be
// taken for the address of another host.
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
