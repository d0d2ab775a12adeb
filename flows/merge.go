package flows

import (
	"net/netip"

	"socktally/bpf"
	"socktally/internal/lru"
	"socktally/record"
)

const (
	roleClient = uint8(bpf.FlowsRoleROLE_CLIENT)
	roleServer = uint8(bpf.FlowsRoleROLE_SERVER)
)

// merger turns rows, in which a connection within the host is seen from both its ends, into records,
// in which it is one. The client's row has the counters; the server's lends its owner, and is known
// for such by its peer_is_local, whether or not the client's row comes in the same interval.
type merger struct {
	protocol  string
	source    record.Source
	describer *describer
	servers   *lru.Cache[pair, owned]
	// countsRTOs says whether the kernel counts retransmission timeouts per socket (from 6.7).
	countsRTOs bool
}

// pair is a client process and a server that are both on this host.
type pair struct {
	client, server [16]byte
	clientPID      uint32
	netns          uint32 // only for addresses that other namespaces have too
	port           uint16
}

// owned is what a row says of its socket's owner.
type owned struct {
	pid, netns   uint32
	life, cgroup uint64
	comm         [16]byte
}

func newMerger(protocol string, source record.Source, d *describer, maxPairs int) *merger {
	return &merger{protocol: protocol, source: source, describer: d, servers: lru.New[pair, owned](maxPairs)}
}

func (m *merger) merge(rows []row) []record.Flow {
	m.describer.next()
	resets := m.learnServers(rows)
	records := make([]record.Flow, 0, len(rows))
	for i := range rows {
		if r := &rows[i]; idle(&r.flow) || r.key.Role == roleServer && r.key.PeerIsLocal != 0 {
			continue
		}
		records = append(records, m.record(&rows[i], resets))
	}
	for p, n := range resets {
		records = append(records, m.resetOnly(p, n))
	}
	return records
}

// learnServers notes who serves the pairs within the host, and returns the resets that their
// servers received: those the client sent, and therefore did not count.
func (m *merger) learnServers(rows []row) map[pair]uint64 {
	resets := make(map[pair]uint64)
	bytes := make(map[pair]uint64)
	for i := range rows {
		k, f := &rows[i].key, &rows[i].flow
		if k.Role != roleServer || k.PeerIsLocal == 0 {
			continue
		}
		p := pairOf(k)
		if f.Reset > 0 {
			resets[p] += uint64(f.Reset)
		}
		// Several processes may serve one port: the one that did most stands for all.
		if n := f.Sent + f.Received + 1; n > bytes[p] && k.Port != 0 {
			bytes[p] = n
			m.servers.Put(p, ownerOf(k, f))
		}
	}
	return resets
}

func (m *merger) record(r *row, resets map[pair]uint64) record.Flow {
	k, f := &r.key, &r.flow
	local := record.Endpoint{Addr: address(k.Local), Owner: m.describer.describe(ownerOf(k, f))}
	remote := record.Endpoint{Addr: address(k.Remote)}
	rec := record.Flow{Protocol: m.protocol, Source: m.source, Counters: m.counters(f)}
	if isOverflow(k) {
		local = record.Endpoint{}
		remote = record.Endpoint{}
	}
	rec.Family = record.Family(local.Addr)
	if k.Role == roleServer {
		local.Port = k.Port
		rec.Direction, rec.Client, rec.Server = record.Incoming, remote, local
		rec.BytesSentByClient, rec.BytesSentByServer = rec.BytesSentByServer, rec.BytesSentByClient
		rec.PacketsSentByClient, rec.PacketsSentByServer = rec.PacketsSentByServer, rec.PacketsSentByClient
		return rec
	}
	remote.Port = k.Port
	rec.Direction = record.Outgoing
	p := pairOf(k)
	rec.Resets += resets[p]
	delete(resets, p)
	if server, ok := m.servers.Get(p); ok {
		rec.Direction = record.Local
		remote.Owner = m.describer.describe(server)
	} else if k.Local == k.Remote || remote.Addr.IsLoopback() {
		rec.Direction = record.Local
	}
	rec.Client, rec.Server = local, remote
	return rec
}

// counters are those of a client's row; for a server's the caller exchanges the two ends.
func (m *merger) counters(f *bpf.FlowsFlow) record.Counters {
	c := record.Counters{
		BytesSentByClient:   notNegative(f.Sent),
		BytesSentByServer:   notNegative(f.Received),
		PacketsSentByClient: f.SegsOut,
		PacketsSentByServer: f.SegsIn,
		RTTSum:              f.RttSum,
		RTTSamples:          uint64(f.RttSamples),
		Retransmits:         uint64(f.Retransmits),
		Established:         uint64(f.Established),
		Closed:              uint64(f.Closed),
		Refusals:            uint64(f.Refused),
		Resets:              uint64(f.Reset),
		Timeouts:            uint64(f.TimedOut),
		Unreachables:        uint64(f.Unreachable),
		DeliveredCE:         uint64(f.DeliveredCe),
		ReordSeen:           uint64(f.ReordSeen),
		RcvOOOPack:          uint64(f.Ooo),
	}
	if m.countsRTOs {
		c.RTOCount, c.RecoveryCount = uint64(f.Rtos), uint64(f.RtoRecoveries)
		c.Known = record.KnowsRTOCount | record.KnowsRecoveryCount
	}
	return c
}

// resetOnly is the record of a client of which nothing but the reset that it sent was seen.
func (m *merger) resetOnly(p pair, resets uint64) record.Flow {
	rec := record.Flow{Protocol: m.protocol, Source: m.source, Direction: record.Local, Counters: m.counters(&bpf.FlowsFlow{})}
	rec.Resets = resets
	if p.port == 0 {
		return rec
	}
	rec.Client = record.Endpoint{Addr: address(p.client), Owner: record.Owner{PID: p.clientPID}}
	rec.Server = record.Endpoint{Addr: address(p.server), Port: p.port}
	rec.Family = record.Family(rec.Server.Addr)
	if server, ok := m.servers.Get(p); ok {
		rec.Server.Owner = m.describer.describe(server)
	}
	return rec
}

func pairOf(k *bpf.FlowsFlowKey) pair {
	p := pair{client: k.Local, server: k.Remote, clientPID: k.Pid, port: k.Port}
	if k.Role == roleServer {
		p.client, p.server, p.clientPID = k.Remote, k.Local, k.PeerPid
	}
	if p.client == p.server || address(p.server).IsLoopback() {
		p.netns = k.Netns
	}
	return p
}

func ownerOf(k *bpf.FlowsFlowKey, f *bpf.FlowsFlow) owned {
	return owned{pid: k.Pid, netns: k.Netns, life: k.Life, cgroup: k.Cgroup, comm: f.Comm}
}

func isOverflow(k *bpf.FlowsFlowKey) bool { return k.Local == [16]byte{} && k.Port == 0 }

// overflowKeys are the keys that a table holds from the start.
func overflowKeys() []bpf.FlowsFlowKey {
	return []bpf.FlowsFlowKey{
		{Role: roleClient},
		{Role: roleServer},
		{Role: roleServer, PeerIsLocal: 1},
	}
}

func idle(f *bpf.FlowsFlow) bool {
	g := *f
	g.Comm = [16]byte{}
	return g == bpf.FlowsFlow{}
}

// notNegative guards the one byte that a tally may take too early: the peer's FIN, between the
// moment when the kernel adds it to the bytes and the moment when it marks it as a FIN. The close
// takes it back, and if that comes in a later interval and alone, the sum is below zero.
func notNegative(n uint64) uint64 {
	if int64(n) < 0 {
		return 0
	}
	return n
}

func address(a [16]byte) netip.Addr { return netip.AddrFrom16(a).Unmap() }

func family(a netip.Addr) string {
	switch {
	case a.Is4():
		return "ipv4"
	case a.Is6():
		return "ipv6"
	}
	return ""
}
