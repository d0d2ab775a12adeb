package record

import "net/netip"

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

// Direction is a record's direction as this host sees it: it says which of its ends are here.
type Direction string

const (
	Outgoing Direction = "outgoing" // the client is here
	Incoming Direction = "incoming" // the server is here
	Local    Direction = "local"    // both are here
)

// ClientIsHere says whether the client is on this host.
func (d Direction) ClientIsHere() bool { return d != Incoming }

// ServerIsHere says whether the server is on this host.
func (d Direction) ServerIsHere() bool { return d != Outgoing }

// Ends returns the end on this host and the other one. Where both are here, near is the client.
func (d Direction) Ends(client, server *Endpoint) (near, far *Endpoint) {
	if d == Incoming {
		return server, client
	}
	return client, server
}

// Family is "ipv4" or "ipv6", "" for no address; a mapped address is IPv4.
func Family(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.Is4():
		return "ipv4"
	case a.Is6():
		return "ipv6"
	}
	return ""
}
