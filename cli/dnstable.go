package cli

import "socktally/record"

// dnsTable shows DNS queries and their results.
var dnsTable = table[record.DNS]{
	{"QUERY", func(r record.DNS) string { return printable(r.Name) }, true, 0},
	{"CLIENT", func(r record.DNS) string { return endpoint(r.Client) }, true, 0},
	{"SERVER", func(r record.DNS) string { return endpoint(r.Server) }, true, 0},
	{"TYPE", func(r record.DNS) string { return r.Type }, false, 1},
	{"PROTO", func(r record.DNS) string { return r.Protocol }, false, 7},
	{"REQUESTS", func(r record.DNS) string { return count(r.Requests) }, false, 0},
	{"OK", func(r record.DNS) string { return count(r.Successes) }, false, 0},
	{"NXDOMAIN", func(r record.DNS) string { return count(r.NXDomain) }, false, 4},
	{"SERVFAIL", func(r record.DNS) string { return count(r.ServFail) }, false, 5},
	{"OTHER", func(r record.DNS) string { return count(r.OtherFailures) }, false, 6},
	{"TIMEOUT", func(r record.DNS) string { return count(r.Timeouts) }, false, 2},
	{"P50", func(r record.DNS) string { return roundTrip(latency(r).Percentile(50)) }, false, 3},
	{"P99", func(r record.DNS) string { return roundTrip(latency(r).Percentile(99)) }, false, 3},
}

// latency is the latency of all answers, successful or not.
func latency(r record.DNS) *record.Latency {
	var all record.Latency
	all.Merge(&r.SuccessLatency)
	all.Merge(&r.FailureLatency)
	return &all
}
