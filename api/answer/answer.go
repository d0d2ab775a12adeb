// Package answer has the types of the API's answers, for servers and for clients. They are those of Datadog's Cloud
// Network Monitoring API, v2, with the same names in JSON. The tests in internal/integration/official compare them with
// Datadog's own client.
package answer

// The paths of the two aggregations.
const (
	ConnectionsPath = "/api/v2/network/connections/aggregate"
	DNSPath         = "/api/v2/network/dns/aggregate"
)

// The types of a row.
const (
	TypeConnection = "aggregated_connection"
	TypeDNS        = "aggregated_dns"
)

// Errors is the body of an answer whose status is not a success. It has one text for each fault.
type Errors struct {
	Errors []string `json:"errors"`
}

// Connections is the body of an answer at ConnectionsPath. The largest rows come first.
type Connections struct {
	Data []Connection `json:"data"`
}

// Connection is the sum of one group of connections.
type Connection struct {
	Attributes ConnectionAttributes `json:"attributes"`
	ID         string               `json:"id"`   // the values of the group, such as "client_service:web, server_port:443"
	Type       string               `json:"type"` // TypeConnection
}

// ConnectionAttributes are counts over the whole window. For TCP, packets are segments. TCPRefusals and TCPTimeouts also
// count failed attempts to connect. TCPEstablishedConnections and TCPClosedConnections do not.
type ConnectionAttributes struct {
	BytesSentByClient         int64               `json:"bytes_sent_by_client"`
	BytesSentByServer         int64               `json:"bytes_sent_by_server"`
	GroupBys                  map[string][]string `json:"group_bys"` // the values of each name that was grouped by
	PacketsSentByClient       int64               `json:"packets_sent_by_client"`
	PacketsSentByServer       int64               `json:"packets_sent_by_server"`
	RTTMicroSeconds           int64               `json:"rtt_micro_seconds"` // smoothed, the mean over sockets
	TCPClosedConnections      int64               `json:"tcp_closed_connections"`
	TCPDeliveredCE            int64               `json:"tcp_delivered_ce"`
	TCPEstablishedConnections int64               `json:"tcp_established_connections"`
	TCPRcvOOOPack             int64               `json:"tcp_rcv_ooo_pack"`
	TCPRecoveryCount          *int64              `json:"tcp_recovery_count,omitempty"` // nil where the kernel has none
	TCPRefusals               int64               `json:"tcp_refusals"`
	TCPReordSeen              int64               `json:"tcp_reord_seen"`
	TCPResets                 int64               `json:"tcp_resets"`
	TCPRetransmits            int64               `json:"tcp_retransmits"`
	TCPRTOCount               *int64              `json:"tcp_rto_count,omitempty"` // nil where the kernel has none
	TCPTimeouts               int64               `json:"tcp_timeouts"`
}

// DNS is the body of an answer at DNSPath. The largest rows come first.
type DNS struct {
	Data []DNSRow `json:"data"`
}

// DNSRow is the sum of one group of queries.
type DNSRow struct {
	Attributes DNSAttributes `json:"attributes"`
	ID         string        `json:"id"`   // the values of the group, such as "client_service:web,network.dns_query:a.invalid"
	Type       string        `json:"type"` // TypeDNS
}

// DNSAttributes are the values of a row's group and the counts over the whole window. A name with several values has one
// entry for each value.
type DNSAttributes struct {
	GroupBys []GroupBy   `json:"group_bys"`
	Metrics  []DNSMetric `json:"metrics"`
}

// GroupBy is one value of one name.
type GroupBy struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// DNSMetric is one count, or a latency in microseconds.
type DNSMetric struct {
	Key   string `json:"key"` // one of those below
	Value int64  `json:"value"`
}

// The keys of a DNSMetric. A latency is the 95th percentile. A row without any DNS answer has no latency.
const (
	DNSTotalRequests       = "dns_total_requests"
	DNSFailures            = "dns_failures" // failed responses and timeouts
	DNSSuccessfulResponses = "dns_successful_responses"
	DNSFailedResponses     = "dns_failed_responses"
	DNSTimeouts            = "dns_timeouts"
	DNSNXDomain            = "dns_responses.nxdomain"
	DNSServFail            = "dns_responses.servfail"
	DNSOtherFailures       = "dns_responses.other"
	DNSSuccessLatency      = "dns_success_latency_percentile"
	DNSFailureLatency      = "dns_failure_latency_percentile"
)
