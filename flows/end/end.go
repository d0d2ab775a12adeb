// Package end has the type for the counts of one end of a flow in an interval. A connection within the host is
// counted at both ends; package flows makes one record of the two.
package end

import (
	"net/netip"

	"socktally/flows/process"
	"socktally/record"
)

// Role is which end of a flow it is.
type Role uint8

const (
	Client Role = 1 + iota
	Server
)

// Key is unique among the flows of one interval. If only Role and PeerIsLocal are set, it is the key of an overflow
// record: the sum of the flows for which there was no room.
type Key struct {
	Local, Remote netip.Addr // never an IPv4-mapped IPv6 address
	Port          uint16     // the server's
	Role          Role
	// PeerIsLocal is set for a server whose client is on this host. PeerPID is the client's process.
	PeerIsLocal bool
	PeerPID     uint32
	// Owner is the process that owns the socket.
	Owner process.Ref
}

// Overflow says whether it is the key of an overflow record.
func (k *Key) Overflow() bool { return !k.Local.IsValid() && k.Port == 0 }

// Flow is one flow of one interval. Counters are seen from client to server, as in a record. At a server, what the
// client sent is what the server received.
type Flow struct {
	Key
	record.Counters
}
