package flowmetric

import (
	"net/netip"

	"socktally/flows"
)

// view is a record as the end on this host sees it. Where both ends are here, that is the client's.
type view struct {
	protocol, family string
	source           flows.Source
	direction        flows.Direction
	client, server   *flows.Endpoint
	near, far        *flows.Endpoint
	// serverDomain is the name by which DNS gave the server's address.
	serverDomain string
	// Of a DNS query.
	query, queryType string
	// Of the far end's network.
	networkName string
	networkTags []string
}

func (s *Splitter) flowView(r *flows.Record) *view {
	s.current = view{
		protocol: r.Protocol, family: r.Family, source: r.Source, direction: r.Direction,
		client: &r.Client, server: &r.Server, serverDomain: r.ServerDomain,
	}
	s.look(&s.current)
	return &s.current
}

func (s *Splitter) dnsView(r *flows.DNSRecord) *view {
	v := &s.current
	*v = view{
		protocol: r.Protocol, family: "ipv6", source: flows.FromEBPF, direction: flows.Outgoing,
		client: &r.Client, server: &r.Server, query: r.Name, queryType: r.Type,
	}
	if r.Server.Addr.Unmap().Is4() {
		v.family = "ipv4"
	}
	switch here, there := isHere(&r.Client.Owner), isHere(&r.Server.Owner); {
	case there && here:
		v.direction = flows.Local
	case there:
		v.direction = flows.Incoming
	}
	s.look(v)
	return v
}

// isHere says whether an end of which this is known is on this host.
func isHere(o *flows.Owner) bool { return o.PID != 0 || o.NetNS != 0 }

// look finds the ends and what the table of networks says of the far one.
func (s *Splitter) look(v *view) {
	v.near, v.far = v.client, v.server
	if v.direction == flows.Incoming {
		v.near, v.far = v.far, v.near
	}
	v.networkName, v.networkTags = s.network(v.far.Addr)
}

// remote names the far end, or returns "" if it has no name. One that looks like an address could pass
// for the address of somebody else.
func (v *view) remote() string {
	if v.networkName != "" {
		return v.networkName
	}
	if v.serverDomain == "" || v.far != v.server {
		return ""
	}
	if _, err := netip.ParseAddr(v.serverDomain); err == nil {
		return ""
	}
	return v.serverDomain
}
