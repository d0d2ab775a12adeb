package record

import "net/netip"

// Owner is the process that owns a socket: the one that called connect or, for a server, listen. Unknown fields are zero.
type Owner struct {
	PID         uint32 // in the initial PID namespace
	Process     string
	Service     string // DD_SERVICE of the process, else Process
	Env         string // DD_ENV of the process
	Version     string // DD_VERSION of the process
	Tags        []string
	CgroupID    uint64
	Cgroup      string // path below the mount of cgroup v2, or only its last parts if the cgroup was removed
	ContainerID string
	PodUID      string // of Kubernetes
	NetNS       uint32 // inode number of the network namespace
}

// Endpoint is one end of a flow. The port of a client is always 0, because each connection has another one.
type Endpoint struct {
	Addr  netip.Addr
	Port  uint16
	Owner Owner
}

// Direction says which ends of a record are on this host.
type Direction string

const (
	Outgoing Direction = "outgoing" // only the client
	Incoming Direction = "incoming" // only the server
	Local    Direction = "local"    // both
)

// ClientIsHere says whether the client is on this host.
func (d Direction) ClientIsHere() bool { return d != Incoming }

// ServerIsHere says whether the server is on this host.
func (d Direction) ServerIsHere() bool { return d != Outgoing }

// Ends returns the end on this host and the other one. If both are on this host, local is the client.
func (d Direction) Ends(client, server *Endpoint) (local, remote *Endpoint) {
	if d == Incoming {
		return server, client
	}
	return client, server
}

// Family is "ipv4" or "ipv6", or "" for the invalid address. An IPv4-mapped IPv6 address is "ipv4".
func Family(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.Is4():
		return "ipv4"
	case a.Is6():
		return "ipv6"
	}
	return ""
}
