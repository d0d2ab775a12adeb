package record

// Source is where a record's counts come from.
type Source string

const (
	// FromEBPF counts every connection, however short.
	FromEBPF Source = "ebpf"
	// FromSockDiag counts what is open when it looks.
	FromSockDiag Source = "sockdiag"
)

// Flow is what one flow did in one interval. A record whose addresses are not valid is an overflow record:
// the sum of the flows that found no room.
type Flow struct {
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
func (r Flow) Overflow() bool { return !r.Server.Addr.IsValid() }
