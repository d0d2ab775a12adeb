package flows

import (
	"encoding/json"
	"net/netip"
)

// Source is where a record's counts come from.
type Source string

const (
	// FromEBPF counts every connection, however short.
	FromEBPF Source = "ebpf"
	// FromSockDiag counts what is open when it looks.
	FromSockDiag Source = "sockdiag"
)

// Direction is a flow's direction as this host sees it.
type Direction string

const (
	Outgoing Direction = "outgoing" // the client is here
	Incoming Direction = "incoming" // the server is here
	Local    Direction = "local"    // both are here
)

// Owner is the process that a socket belongs to: the one that connected it or, for a server, the
// one that began to listen. Fields that are not known are zero.
type Owner struct {
	PID         uint32 // as the host numbers it
	Process     string
	Service     string // DD_SERVICE of the process, else Process
	Env         string // DD_ENV of the process
	Version     string // DD_VERSION of the process
	Tags        []string
	CgroupID    uint64
	Cgroup      string // path below the cgroup v2 mount, or its last parts where the group is gone
	ContainerID string
	PodUID      string // of Kubernetes
	NetNS       uint32 // inode number of the network namespace
}

// Endpoint is one end of a flow. A client's port is always 0: it is another one each time.
type Endpoint struct {
	Addr  netip.Addr
	Port  uint16
	Owner Owner
}

// Counters are what a flow did in one interval. Bytes are the application's: no retransmitted ones,
// no SYN, no FIN, no header. Packets are TCP segments of any kind, retransmitted ones included, or
// UDP datagrams. UDP has none of the others.
type Counters struct {
	BytesSentByClient   uint64
	BytesSentByServer   uint64
	PacketsSentByClient uint64
	PacketsSentByServer uint64
	// RTTSum is the sum of the smoothed round trip times, in microseconds, of the RTTSamples sockets
	// that had traffic.
	RTTSum     uint64
	RTTSamples uint64
	// Retransmits counts segments that this host sent again, SYNs included.
	Retransmits uint64
	// Established and Closed count connections. An attempt that failed is in neither.
	Established uint64
	Closed      uint64
	// Refusals, Timeouts and Unreachables count connections, and attempts at one, that ended by
	// ECONNREFUSED, ETIMEDOUT and EHOSTUNREACH, ENETUNREACH or the like.
	Refusals     uint64
	Timeouts     uint64
	Unreachables uint64
	// Resets counts connections that ended because an end on this host received a reset.
	Resets      uint64
	DeliveredCE uint64
	ReordSeen   uint64
	RcvOOOPack  uint64
	// RTOCount and RecoveryCount are nil where the kernel does not count them (before 6.7).
	RTOCount      *uint64
	RecoveryCount *uint64
}

// RTTMicroSeconds is the smoothed round trip time, averaged over the sockets that had traffic; 0 where
// it is not known.
func (c Counters) RTTMicroSeconds() uint64 {
	if c.RTTSamples == 0 {
		return 0
	}
	return c.RTTSum / c.RTTSamples
}

// Add adds what other holds, and leaves that as it is. A count that neither knows stays unknown.
func (c *Counters) Add(other *Counters) {
	c.BytesSentByClient += other.BytesSentByClient
	c.BytesSentByServer += other.BytesSentByServer
	c.PacketsSentByClient += other.PacketsSentByClient
	c.PacketsSentByServer += other.PacketsSentByServer
	c.RTTSum += other.RTTSum
	c.RTTSamples += other.RTTSamples
	c.Retransmits += other.Retransmits
	c.Established += other.Established
	c.Closed += other.Closed
	c.Refusals += other.Refusals
	c.Timeouts += other.Timeouts
	c.Unreachables += other.Unreachables
	c.Resets += other.Resets
	c.DeliveredCE += other.DeliveredCE
	c.ReordSeen += other.ReordSeen
	c.RcvOOOPack += other.RcvOOOPack
	c.RTOCount = addKnown(c.RTOCount, other.RTOCount)
	c.RecoveryCount = addKnown(c.RecoveryCount, other.RecoveryCount)
}

// addKnown adds n to sum, which belongs to the caller; nil is a count that is not known.
func addKnown(sum, n *uint64) *uint64 {
	if n == nil {
		return sum
	}
	if sum == nil {
		sum = new(uint64)
	}
	*sum += *n
	return sum
}

// Record is one flow in one interval. A record whose addresses are not valid is an overflow record:
// the sum of the flows that found no room.
type Record struct {
	Protocol  string // "tcp" or "udp"
	Family    string // "ipv4" or "ipv6"; a mapped address is IPv4
	Source    Source
	Direction Direction
	Client    Endpoint
	Server    Endpoint
	// ServerDomain is the name that the server's address was last the DNS answer for, if any.
	ServerDomain string
	Counters
}

// Overflow says whether the record sums flows that found no room of their own.
func (r Record) Overflow() bool { return !r.Server.Addr.IsValid() }

// endsJSON are both ends of a record.
type endsJSON struct {
	ClientIP          string `json:"client_ip"`
	ClientPort        uint16 `json:"client_port"`
	ClientPID         uint32 `json:"client_pid"`
	ClientProcess     string `json:"client_process"`
	ClientService     string `json:"client_service"`
	ClientContainerID string `json:"client_container_id"`
	ClientPodUID      string `json:"client_pod_uid,omitempty"`
	ServerIP          string `json:"server_ip"`
	ServerPort        uint16 `json:"server_port"`
	ServerPID         uint32 `json:"server_pid"`
	ServerProcess     string `json:"server_process"`
	ServerService     string `json:"server_service"`
	ServerContainerID string `json:"server_container_id"`
	ServerPodUID      string `json:"server_pod_uid,omitempty"`
}

func endsOf(client, server *Endpoint) endsJSON {
	c, s := &client.Owner, &server.Owner
	return endsJSON{
		ipString(client.Addr), client.Port, c.PID, c.Process, c.Service, c.ContainerID, c.PodUID,
		ipString(server.Addr), server.Port, s.PID, s.Process, s.Service, s.ContainerID, s.PodUID,
	}
}

// recordJSON is a record as one flat object.
type recordJSON struct {
	Protocol  string    `json:"protocol"`
	Family    string    `json:"family"`
	Source    Source    `json:"source"`
	Direction Direction `json:"direction"`
	endsJSON
	ServerDomain        string `json:"server_domain,omitempty"`
	BytesSentByClient   uint64 `json:"bytes_sent_by_client"`
	BytesSentByServer   uint64 `json:"bytes_sent_by_server"`
	PacketsSentByClient uint64 `json:"packets_sent_by_client"`
	PacketsSentByServer uint64 `json:"packets_sent_by_server"`
	*tcpJSON                   // nil for other protocols
}

// tcpJSON is what only TCP has.
type tcpJSON struct {
	RTTMicroSeconds uint64  `json:"rtt_micro_seconds"`
	Retransmits     uint64  `json:"tcp_retransmits"`
	Established     uint64  `json:"tcp_established_connections"`
	Closed          uint64  `json:"tcp_closed_connections"`
	Refusals        uint64  `json:"tcp_refusals"`
	Resets          uint64  `json:"tcp_resets"`
	Timeouts        uint64  `json:"tcp_timeouts"`
	Unreachables    uint64  `json:"tcp_unreachables"`
	RTOCount        *uint64 `json:"tcp_rto_count,omitempty"`
	RecoveryCount   *uint64 `json:"tcp_recovery_count,omitempty"`
	DeliveredCE     uint64  `json:"tcp_delivered_ce"`
	ReordSeen       uint64  `json:"tcp_reord_seen"`
	RcvOOOPack      uint64  `json:"tcp_rcv_ooo_pack"`
}

// MarshalJSON gives one flat object. A record of UDP lacks the counters that only TCP has.
func (r Record) MarshalJSON() ([]byte, error) {
	out := recordJSON{
		r.Protocol, r.Family, r.Source, r.Direction,
		endsOf(&r.Client, &r.Server), r.ServerDomain,
		r.BytesSentByClient, r.BytesSentByServer, r.PacketsSentByClient, r.PacketsSentByServer,
		nil,
	}
	if r.Protocol == "tcp" {
		out.tcpJSON = &tcpJSON{
			r.RTTMicroSeconds(), r.Retransmits, r.Established, r.Closed,
			r.Refusals, r.Resets, r.Timeouts, r.Unreachables,
			r.RTOCount, r.RecoveryCount, r.DeliveredCE, r.ReordSeen, r.RcvOOOPack,
		}
	}
	return json.Marshal(out)
}

func ipString(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
