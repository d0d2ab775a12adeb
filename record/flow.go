package record

// Source is where a record's counts come from.
type Source string

const (
	// FromEBPF counts every connection, however short.
	FromEBPF Source = "ebpf"
	// FromSockDiag counts the connections that are open at a poll.
	FromSockDiag Source = "sockdiag"
)

// Flow is one flow of one interval. If the addresses are invalid it is an overflow record: the sum of the flows for which
// there was no room.
type Flow struct {
	Protocol  string // "tcp" or "udp"
	Family    string // "ipv4" or "ipv6": see the function Family
	Source    Source
	Direction Direction
	Client    Endpoint
	Server    Endpoint
	// ServerDomain is the name for which DNS last gave the address of the server, "" if there is none.
	ServerDomain string
	Counters
}

// Overflow says whether it is an overflow record.
func (r Flow) Overflow() bool { return !r.Server.Addr.IsValid() }
