package integration

import (
	"encoding/csv"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// counters are the metrics that are one field of sockstat or sockstat6: where the field is, what
// its number is multiplied by, and whether the kernel counts it for all network namespaces at once.
var counters = map[string]struct {
	line, field string
	unit        float64
	wholeKernel bool
}{
	"sockstat.sockets.used":   {"sockets", "used", 1, false},
	"sockstat.tcp.inuse":      {"TCP", "inuse", 1, false},
	"sockstat.tcp.orphan":     {"TCP", "orphan", 1, true},
	"sockstat.tcp.tw":         {"TCP", "tw", 1, false},
	"sockstat.tcp.alloc":      {"TCP", "alloc", 1, true},
	"sockstat.tcp.mem":        {"TCP", "mem", pageKiB, true},
	"sockstat.udp.inuse":      {"UDP", "inuse", 1, false},
	"sockstat.udp.mem":        {"UDP", "mem", pageKiB, true},
	"sockstat.udplite.inuse":  {"UDPLITE", "inuse", 1, false},
	"sockstat.raw.inuse":      {"RAW", "inuse", 1, false},
	"sockstat.frag.inuse":     {"FRAG", "inuse", 1, false},
	"sockstat.frag.memory":    {"FRAG", "memory", 1, false},
	"sockstat.tcp6.inuse":     {"TCP6", "inuse", 1, false},
	"sockstat.udp6.inuse":     {"UDP6", "inuse", 1, false},
	"sockstat.udplite6.inuse": {"UDPLITE6", "inuse", 1, false},
	"sockstat.raw6.inuse":     {"RAW6", "inuse", 1, false},
	"sockstat.frag6.inuse":    {"FRAG6", "inuse", 1, false},
	"sockstat.frag6.memory":   {"FRAG6", "memory", 1, false},
}

// limits are the metrics that are one number of a setting in /proc/sys/net/ipv4, and the ratio of a
// field to it.
var limits = map[string]struct {
	setting     string
	index       int
	unit        float64
	wholeKernel bool
	ratio       string // the name of the ratio, "" for none
	of          string // the counter above the line of the ratio
}{
	"sockstat.tcp.mem_pressure": {"tcp_mem", 1, pageKiB, true, "", ""},
	"sockstat.tcp.mem_limit":    {"tcp_mem", 2, pageKiB, true, "sockstat.tcp.mem_ratio", "sockstat.tcp.mem"},
	"sockstat.tcp.orphan_limit": {"tcp_max_orphans", 0, 1, true, "sockstat.tcp.orphan_ratio", "sockstat.tcp.orphan"},
	"sockstat.tcp.tw_limit":     {"tcp_max_tw_buckets", 0, 1, false, "sockstat.tcp.tw_ratio", "sockstat.tcp.tw"},
	"sockstat.udp.mem_limit":    {"udp_mem", 2, pageKiB, true, "sockstat.udp.mem_ratio", "sockstat.udp.mem"},
}

const portRange = "sockstat.ports.range"

// kernelCounts are the metrics that are the difference of two values of a counter in snmp or netstat:
// its line and its name.
var kernelCounts = map[string]struct{ line, counter string }{
	"sockstat.tcp.retrans_segs":     {"Tcp", "RetransSegs"},
	"sockstat.tcp.listen_overflows": {"TcpExt", "ListenOverflows"},
	"sockstat.tcp.listen_drops":     {"TcpExt", "ListenDrops"},
	"sockstat.tcp.syncookies_sent":  {"TcpExt", "SyncookiesSent"},
	"sockstat.tcp.memory_pressures": {"TcpExt", "TCPMemoryPressures"},
	"sockstat.tcp.abort_on_memory":  {"TcpExt", "TCPAbortOnMemory"},
	"sockstat.udp.rcvbuf_errors":    {"Udp", "RcvbufErrors"},
	"sockstat.udp.sndbuf_errors":    {"Udp", "SndbufErrors"},
	"sockstat.udp.no_ports":         {"Udp", "NoPorts"},
}

const (
	pressure       = "sockstat.tcp.pressure"
	conntrackCount = "sockstat.conntrack.count"
	conntrackLimit = "sockstat.conntrack.limit"
	conntrackRatio = "sockstat.conntrack.ratio"
)

// own are the metrics of socktally about itself.
var own = []string{
	"socktally.readings", "socktally.readings.failed", "socktally.readings.skipped", "socktally.reading.duration",
	"socktally.samples.sent", "socktally.samples.dropped", "socktally.samples.spooled", "socktally.samples.replayed",
	"socktally.spool.bytes", "socktally.last_success",
	"socktally.flows.tallies", "socktally.flows.tallies.failed", "socktally.flows.tallies.skipped",
	"socktally.flows.tally.duration", "socktally.flows.contexts", "socktally.flows.combinations", "socktally.flows.losses",
	"socktally.flows.dns.contexts", "socktally.flows.dns.combinations",
}

// flowMetrics are those of flows, which flows_test.go holds to what its processes send.
var flowMetrics = []string{
	"socktally.flow.bytes_sent", "socktally.flow.bytes_received", "socktally.flow.packets_sent", "socktally.flow.packets_received",
	"socktally.flow.retransmits", "socktally.flow.established", "socktally.flow.closed", "socktally.flow.refused",
	"socktally.flow.reset", "socktally.flow.timeout", "socktally.flow.unreachable", "socktally.flow.rtt",
}

// dnsMetrics are those of DNS, which owners_test.go holds to what its processes ask.
var dnsMetrics = []string{
	"socktally.dns.total_requests", "socktally.dns.successful_responses", "socktally.dns.failed_responses",
	"socktally.dns.responses.nxdomain", "socktally.dns.responses.servfail", "socktally.dns.responses.other",
	"socktally.dns.timeouts", "socktally.dns.failures",
	"socktally.dns.success_latency.p50", "socktally.dns.success_latency.p95", "socktally.dns.success_latency.p99", "socktally.dns.success_latency.max",
	"socktally.dns.failure_latency.p50", "socktally.dns.failure_latency.p95", "socktally.dns.failure_latency.p99", "socktally.dns.failure_latency.max",
}

// storeMetrics are those of the store, which the tests of daemon/ hold to what is stored.
var storeMetrics = []string{
	"socktally.store.records", "socktally.store.losses", "socktally.store.bytes", "socktally.store.waiting",
}

var pageKiB = float64(os.Getpagesize()) / 1024

// kernel returns the value of every metric that this kernel has, as /proc says now.
func kernel(t *testing.T) map[string]float64 {
	t.Helper()
	fields := map[string]float64{}
	for _, file := range []string{"/proc/net/sockstat", "/proc/net/sockstat6"} {
		for line := range strings.Lines(text(t, file)) {
			protocol, rest, _ := strings.Cut(line, ":")
			words := strings.Fields(rest)
			for i := 0; i+1 < len(words); i += 2 {
				fields[protocol+" "+words[i]] = number(t, words[i+1])
			}
		}
	}
	values := map[string]float64{}
	for name, c := range counters {
		if v, found := fields[c.line+" "+c.field]; found {
			values[name] = v * c.unit
		}
	}
	for name, l := range limits {
		if all := strings.Fields(text(t, "/proc/sys/net/ipv4/"+l.setting)); len(all) > l.index {
			values[name] = number(t, all[l.index]) * l.unit
			if value, found := values[l.of]; found && values[name] > 0 {
				values[l.ratio] = value / values[name]
			}
		}
	}
	if ends := strings.Fields(text(t, "/proc/sys/net/ipv4/ip_local_port_range")); len(ends) == 2 {
		values[portRange] = number(t, ends[1]) - number(t, ends[0]) + 1
		for _, port := range reservedPorts(t) {
			if port >= number(t, ends[0]) && port <= number(t, ends[1]) {
				values[portRange]--
			}
		}
	}
	for line := range strings.Lines(text(t, "/proc/net/protocols")) {
		if words := strings.Fields(line); words[0] == "TCP" && words[4] != "NI" {
			values[pressure] = map[string]float64{"no": 0, "yes": 1}[words[4]]
		}
	}
	tracked, most := text(t, "/proc/sys/net/netfilter/nf_conntrack_count"), text(t, "/proc/sys/net/netfilter/nf_conntrack_max")
	if tracked != "" && most != "" {
		values[conntrackCount], values[conntrackLimit] = number(t, strings.TrimSpace(tracked)), number(t, strings.TrimSpace(most))
		if values[conntrackLimit] > 0 {
			values[conntrackRatio] = values[conntrackCount] / values[conntrackLimit]
		}
	}
	return values
}

// reservedPorts returns the ports that the kernel gives to nobody who asks for none in particular.
func reservedPorts(t *testing.T) []float64 {
	t.Helper()
	var ports []float64
	for _, part := range strings.Split(strings.TrimSpace(text(t, "/proc/sys/net/ipv4/ip_local_reserved_ports")), ",") {
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		for port := number(t, first); port <= number(t, last); port++ {
			ports = append(ports, port)
		}
	}
	return ports
}

// wholeKernel returns the metrics that are counted for the whole kernel.
func wholeKernel() map[string]bool {
	names := map[string]bool{}
	for name, c := range counters {
		names[name] = c.wholeKernel
	}
	for name, l := range limits {
		names[name] = l.wholeKernel
		names[l.ratio] = l.wholeKernel
	}
	names[pressure] = true
	maps.DeleteFunc(names, func(name string, whole bool) bool { return !whole || name == "" })
	return names
}

// still returns the values that are the same in both readings.
func still(before, after map[string]float64) map[string]float64 {
	same := maps.Clone(before)
	maps.DeleteFunc(same, func(name string, v float64) bool {
		later, has := after[name]
		return !has || later != v
	})
	return same
}

// text returns a file, or nothing if the kernel does not have it.
func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// documented returns the type of every metric in the product's metadata.csv.
func documented(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../../metadata.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 || len(rows[0]) < 2 || rows[0][0] != "metric_name" || rows[0][1] != "metric_type" {
		t.Fatalf("metadata.csv does not begin with metric_name,metric_type")
	}
	types := map[string]string{}
	for _, row := range rows[1:] {
		types[row[0]] = row[1]
	}
	return types
}

// TestEveryDocumentedMetricIsKnownHere holds the tables of this file to the product: a metric that
// is added there needs an expected value here.
func TestEveryDocumentedMetricIsKnownHere(t *testing.T) {
	known := slices.Concat(own, flowMetrics, dnsMetrics, storeMetrics)
	known = append(known, portRange, pressure, conntrackCount, conntrackLimit, conntrackRatio)
	known = slices.AppendSeq(known, maps.Keys(kernelCounts))
	known = slices.AppendSeq(known, maps.Keys(counters))
	for name, l := range limits {
		known = append(known, name)
		if l.ratio != "" {
			known = append(known, l.ratio)
		}
	}
	slices.Sort(known)
	if names := slices.Sorted(maps.Keys(documented(t))); !slices.Equal(names, known) {
		t.Errorf("metadata.csv has\n%q\nthe tests know\n%q", names, known)
	}
}
