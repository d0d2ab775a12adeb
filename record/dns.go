package record

// Other is the name and type in a record that sums DNS queries for which there was no room.
const Other = "other"

// DNS are the queries that one client sent to one server for one name and type in one interval. If the Name is Other, the
// record sums names for which there was no room. If it has no addresses either, it sums clients and servers too.
type DNS struct {
	Protocol string // "udp" or "tcp"
	// Direction says which ends are on this host: the queries were seen at the sockets of these ends.
	Direction      Direction
	Client, Server Endpoint
	Name           string // lower case, without the last dot
	Type           string
	DNSCounts
}

// DNSCounts are the counters of a record of DNS queries. A query is counted when it is sent, and its answer or timeout when
// that comes. So over time
// Requests = Successes + NXDomain + ServFail + OtherFailures + Timeouts + the queries that are still waiting.
type DNSCounts struct {
	Requests      uint64
	Successes     uint64
	NXDomain      uint64
	ServFail      uint64
	OtherFailures uint64 // refused, not implemented, format error and all other codes
	Timeouts      uint64
	// SuccessLatency and FailureLatency are the times from query to answer. Timeouts are in neither.
	SuccessLatency Latency
	FailureLatency Latency
}

// Add adds the counters of other, which is not changed.
func (c *DNSCounts) Add(other *DNSCounts) {
	for i := range dnsFields {
		*dnsFields[i].Of(c) += *dnsFields[i].Of(other)
	}
	c.SuccessLatency.Merge(&other.SuccessLatency)
	c.FailureLatency.Merge(&other.FailureLatency)
}

// FailedResponses is the number of answers with an error.
func (c *DNSCounts) FailedResponses() uint64 { return c.NXDomain + c.ServFail + c.OtherFailures }

// Failures is the number of answers with an error and of timeouts.
func (c *DNSCounts) Failures() uint64 { return c.FailedResponses() + c.Timeouts }
