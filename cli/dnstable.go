package cli

import (
	"socktally/dns"
	"socktally/flows"
)

// dnsTable shows what became of DNS queries.
var dnsTable = table[flows.DNSRecord]{
	{"QUERY", func(r flows.DNSRecord) string { return printable(r.Name) }, true, 0},
	{"CLIENT", func(r flows.DNSRecord) string { return end(r.Client) }, true, 0},
	{"SERVER", func(r flows.DNSRecord) string { return end(r.Server) }, true, 0},
	{"TYPE", func(r flows.DNSRecord) string { return r.Type }, false, 1},
	{"PROTO", func(r flows.DNSRecord) string { return r.Protocol }, false, 7},
	{"REQUESTS", func(r flows.DNSRecord) string { return count(r.Requests) }, false, 0},
	{"OK", func(r flows.DNSRecord) string { return count(r.Successes) }, false, 0},
	{"NXDOMAIN", func(r flows.DNSRecord) string { return count(r.NXDomain) }, false, 4},
	{"SERVFAIL", func(r flows.DNSRecord) string { return count(r.ServFail) }, false, 5},
	{"OTHER", func(r flows.DNSRecord) string { return count(r.OtherFailures) }, false, 6},
	{"TIMEOUT", func(r flows.DNSRecord) string { return count(r.Timeouts) }, false, 2},
	{"P50", func(r flows.DNSRecord) string { return roundTrip(latency(r).Percentile(50)) }, false, 3},
	{"P99", func(r flows.DNSRecord) string { return roundTrip(latency(r).Percentile(99)) }, false, 3},
}

// latency is that of all answers, good or bad.
func latency(r flows.DNSRecord) *dns.Latency {
	var all dns.Latency
	all.Merge(&r.SuccessLatency)
	all.Merge(&r.FailureLatency)
	return &all
}
