package flows

import (
	"net/netip"

	"socktally/flows/dns"
	"socktally/flows/end"
	"socktally/flows/process"
	"socktally/flows/trace"
	"socktally/internal/lru"
	"socktally/record"
)

// merger makes records from the ends of flows. A flow within the host has two ends, but one record: the counters
// come from the client's end; the server's end gives only its owner. A server's end of that kind has PeerIsLocal set. The
// client's end may come in another interval.
type merger struct {
	protocol  string
	source    record.Source
	processes *process.Table
	servers   *lru.Cache[pair, process.Ref]
}

// pair is a client process and a server, both on this host.
type pair struct {
	client, server netip.Addr
	clientPID      uint32
	netns          uint32 // 0, unless the addresses are local to a network namespace
	port           uint16
}

func newMerger(protocol string, source record.Source, processes *process.Table, maxPairs int) *merger {
	return &merger{protocol: protocol, source: source, processes: processes, servers: lru.New[pair, process.Ref](maxPairs)}
}

// merge makes the records of one interval.
func (m *merger) merge(ends []end.Flow) []record.Flow {
	m.processes.BeginInterval()
	resets := m.learnServers(ends)
	records := make([]record.Flow, 0, len(ends))
	for i := range ends {
		if e := &ends[i]; idle(e) || e.Role == end.Server && e.PeerIsLocal {
			continue
		}
		records = append(records, m.record(&ends[i], resets))
	}
	for p, received := range resets {
		records = append(records, m.resetOnly(p, received))
	}
	return records
}

// learnServers notes the owners of servers whose client is on this host. It returns the resets that these servers
// received. The client sent them, so its end does not count them.
func (m *merger) learnServers(ends []end.Flow) map[pair]record.Counters {
	resets := make(map[pair]record.Counters)
	bytes := make(map[pair]uint64)
	for i := range ends {
		e := &ends[i]
		if e.Role != end.Server || !e.PeerIsLocal {
			continue
		}
		p := pairOf(&e.Key)
		if e.Resets > 0 {
			resets[p] = record.Counters{Resets: resets[p].Resets + e.Resets, Known: e.Known}
		}
		// Several processes may serve one port. The one with the most bytes is taken as the owner.
		if n := e.BytesSentByClient + e.BytesSentByServer + 1; n > bytes[p] && e.Port != 0 {
			bytes[p] = n
			m.servers.Put(p, e.Owner)
		}
	}
	return resets
}

func (m *merger) record(e *end.Flow, resets map[pair]record.Counters) record.Flow {
	r := record.Flow{Protocol: m.protocol, Source: m.source, Counters: e.Counters}
	local, remote := record.Endpoint{Addr: e.Local}, record.Endpoint{Addr: e.Remote}
	if !e.Overflow() {
		local.Owner = m.processes.Describe(e.Owner)
	}
	r.Family = record.Family(local.Addr)
	if e.Role == end.Server {
		local.Port = e.Port
		r.Direction, r.Client, r.Server = record.Incoming, remote, local
		return r
	}
	remote.Port = e.Port
	r.Direction = record.Outgoing
	p := pairOf(&e.Key)
	r.Resets += resets[p].Resets
	delete(resets, p)
	if server, ok := m.servers.Get(p); ok {
		r.Direction = record.Local
		remote.Owner = m.processes.Describe(server)
	} else if e.Local == e.Remote || remote.Addr.IsLoopback() {
		r.Direction = record.Local
	}
	r.Client, r.Server = local, remote
	return r
}

// resetOnly is the record of a flow in which the client has sent only a reset.
func (m *merger) resetOnly(p pair, received record.Counters) record.Flow {
	r := record.Flow{Protocol: m.protocol, Source: m.source, Direction: record.Local, Counters: received}
	if p.port == 0 {
		return r
	}
	r.Client = record.Endpoint{Addr: p.client, Owner: record.Owner{PID: p.clientPID}}
	r.Server = record.Endpoint{Addr: p.server, Port: p.port}
	r.Family = record.Family(r.Server.Addr)
	if server, ok := m.servers.Get(p); ok {
		r.Server.Owner = m.processes.Describe(server)
	}
	return r
}

func (m *merger) dnsRecord(k dns.Key[trace.DNSSocket], counts *record.DNSCounts) record.DNS {
	r := record.DNS{
		Protocol:  m.protocol,
		Direction: record.Outgoing,
		Client:    record.Endpoint{Addr: k.Client},
		Server:    record.Endpoint{Addr: k.Server.Addr(), Port: k.Server.Port()},
		Name:      k.Name, Type: k.Type, DNSCounts: *counts,
	}
	owner := m.processes.Describe(k.Owner.Owner)
	if k.Owner.IsServer {
		r.Server.Owner, r.Direction = owner, record.Incoming
		return r
	}
	r.Client.Owner = owner
	if !k.Client.IsValid() {
		return r
	}
	p := pairOf(&end.Key{Role: end.Client, Local: k.Client, Remote: k.Server.Addr(), Port: k.Server.Port(), Owner: k.Owner.Owner})
	if server, ok := m.servers.Get(p); ok {
		r.Server.Owner, r.Direction = m.processes.Describe(server), record.Local
	}
	return r
}

func pairOf(k *end.Key) pair {
	p := pair{client: k.Local, server: k.Remote, clientPID: k.Owner.PID, port: k.Port}
	if k.Role == end.Server {
		p.client, p.server, p.clientPID = k.Remote, k.Local, k.PeerPID
	}
	if p.client == p.server || p.server.IsLoopback() {
		p.netns = k.Owner.NetNS
	}
	return p
}

// idle says whether all counters are zero.
func idle(e *end.Flow) bool { return e.Counters == record.Counters{Known: e.Known} }
