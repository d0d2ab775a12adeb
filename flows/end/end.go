// Package end holds what one end of a flow did in an interval, as that end's sockets show it. A connection within
// the host is seen from both its ends; package flows makes one record of them.
package end

import (
	"net/netip"

	"socktally/flows/process"
	"socktally/record"
)

// Role is which end of a flow its sockets are.
type Role uint8

const (
	Client Role = 1 + iota
	Server
)

// Key is what tells apart the flows of one interval. One of which only Role and PeerIsLocal are set is of the flows
// that found no room under their own.
type Key struct {
	Local, Remote netip.Addr // IPv4 is never mapped
	Port          uint16     // the server's
	Role          Role
	// PeerIsLocal says of a server that its client is on this host, and PeerPID whose process that is.
	PeerIsLocal bool
	PeerPID     uint32
	// Owner is whose socket it is.
	Owner process.Ref
}

// Overflow says whether the key stands for all flows that found no room under their own.
func (k *Key) Overflow() bool { return !k.Local.IsValid() && k.Port == 0 }

// Flow is one flow of one interval. Its Counters are those of a record: what a client sent is what its own end
// sent, or what the server's received.
type Flow struct {
	Key
	record.Counters
}
