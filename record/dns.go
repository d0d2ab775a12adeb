package record

// Other is the name and type of DNS queries that found no room under their own.
const Other = "other"

// DNS is what became, in one interval, of the queries that one client sent to one server for
// one name and type. A record whose Name is Other sums names that found no room; if it has no
// addresses either, also clients and servers.
type DNS struct {
	Protocol string // "udp" or "tcp"
	// Direction says which ends are here: whose socket showed the queries.
	Direction      Direction
	Client, Server Endpoint
	Name           string // lower case, without the last dot
	Type           string
	DNSCounts
}

// DNSCounts are what became of the queries of one record. A query is counted when it is
// sent, its answer or timeout when that comes, so that over time
// Requests = Successes + NXDomain + ServFail + OtherFailures + Timeouts + those that still wait.
type DNSCounts struct {
	Requests      uint64
	Successes     uint64
	NXDomain      uint64
	ServFail      uint64
	OtherFailures uint64 // refused, not implemented, format error and all other codes
	Timeouts      uint64
	// SuccessLatency and FailureLatency are the times from query to answer. A timeout is in neither.
	SuccessLatency Latency
	FailureLatency Latency
}

// Add adds what other holds, and leaves that as it is.
func (c *DNSCounts) Add(other *DNSCounts) {
	for i := range dnsFields {
		*dnsFields[i].Of(c) += *dnsFields[i].Of(other)
	}
	c.SuccessLatency.Merge(&other.SuccessLatency)
	c.FailureLatency.Merge(&other.FailureLatency)
}

// FailedResponses are the answers that say that something failed.
func (c *DNSCounts) FailedResponses() uint64 { return c.NXDomain + c.ServFail + c.OtherFailures }

// Failures are failed answers and timeouts.
func (c *DNSCounts) Failures() uint64 { return c.FailedResponses() + c.Timeouts }
