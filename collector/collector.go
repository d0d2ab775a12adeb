// Package collector reads the kernel's socket counters and the limits that give them a meaning.
//
// Sources are /proc/self/net/sockstat and sockstat6, and five settings under /proc/sys/net. The
// path through self is used because systemd's ProcSubset=pid hides /proc/net. The kernel prints
// some counters for the whole kernel and others for the reader's network namespace; the scope of
// each is in the metric catalogue.
package collector

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"socktally/metric"
)

// Collector takes readings. It holds no open file and is safe for concurrent use.
type Collector struct {
	root    string
	scope   metric.Scope
	pageKiB float64
}

// New returns a Collector over the proc file system mounted at procRoot, "/proc" outside of tests.
// With scope metric.NetNS the readings leave out what is counted for the whole kernel. It is an
// error if procRoot is not a proc file system.
func New(procRoot string, scope metric.Scope) (*Collector, error) {
	if _, err := os.Stat(filepath.Join(procRoot, "self")); err != nil {
		return nil, fmt.Errorf("open proc file system: is proc mounted at %s? %w", procRoot, err)
	}
	return &Collector{root: procRoot, scope: scope, pageKiB: float64(os.Getpagesize()) / 1024}, nil
}

// Read takes one reading and stamps its samples with now. A file, a line or a field that the
// kernel does not have makes no sample. A file that cannot be read or understood is an error that
// names it; the samples of all other files are returned beside the error.
func (c *Collector) Read(now time.Time) ([]metric.Sample, error) {
	r := reading{scope: c.scope, now: now, pageKiB: c.pageKiB, samples: make([]metric.Sample, 0, 32)}
	var errs []error

	path := filepath.Join(c.root, "self/net/sockstat")
	stat, err := readSockstat(path)
	if err == nil && !stat.hasProtocol() {
		stat, err = nil, fmt.Errorf("%s holds no protocol", path)
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("read sockstat: %w", err))
	}
	// A kernel with IPv6 off has no sockstat6.
	stat6, err := readSockstat(filepath.Join(c.root, "self/net/sockstat6"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("read sockstat6: %w", err))
	}

	r.addAll(stat)
	r.addAll(stat6)
	for _, l := range limits {
		v, err := readSysctl(filepath.Join(c.root, "sys/net/ipv4", l.sysctl), l.fields)
		if err == nil {
			l.add(&r, stat, v)
		} else if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read limit: %w", err))
		}
	}
	return r.samples, errors.Join(errs...)
}

// reading gathers the samples of one moment.
type reading struct {
	scope   metric.Scope
	now     time.Time
	pageKiB float64
	samples []metric.Sample
}

// add appends a gauge, unless it is counted for the whole kernel and only the namespace is asked for.
func (r *reading) add(name string, value float64) {
	d, known := metric.Lookup(name)
	if !known || r.scope == metric.NetNS && d.Scope == metric.Host {
		return
	}
	r.samples = append(r.samples, metric.Sample{Name: name, Kind: metric.Gauge, Value: value, Time: r.now})
}

// addAll adds every field of every line that the catalogue has. A newer kernel may have others.
func (r *reading) addAll(s sockstat) {
	for _, p := range s {
		prefix := "sockstat." + strings.ToLower(p.name) + "."
		for _, f := range p.fields {
			value := float64(f.value)
			if f.name == "mem" { // pages; "memory" is bytes
				value *= r.pageKiB
			}
			r.add(prefix+f.name, value)
		}
	}
}

// ratio adds part/limit, where both exist and the limit allows anything at all.
func (r *reading) ratio(name string, stat sockstat, protocol, field string, limit int) {
	if value, ok := stat.value(protocol, field); ok && limit > 0 {
		r.add(name, float64(value)/float64(limit))
	}
}

// limits are the settings that bound the counters, each with the samples that it makes.
var limits = []struct {
	sysctl string // below /proc/sys/net/ipv4
	fields int
	add    func(r *reading, stat sockstat, v []int)
}{
	{"tcp_mem", 3, func(r *reading, stat sockstat, v []int) {
		r.add("sockstat.tcp.mem_pressure", float64(v[1])*r.pageKiB)
		r.add("sockstat.tcp.mem_limit", float64(v[2])*r.pageKiB)
		r.ratio("sockstat.tcp.mem_ratio", stat, "TCP", "mem", v[2])
	}},
	{"tcp_max_orphans", 1, func(r *reading, stat sockstat, v []int) {
		r.add("sockstat.tcp.orphan_limit", float64(v[0]))
		r.ratio("sockstat.tcp.orphan_ratio", stat, "TCP", "orphan", v[0])
	}},
	{"tcp_max_tw_buckets", 1, func(r *reading, stat sockstat, v []int) {
		r.add("sockstat.tcp.tw_limit", float64(v[0]))
		r.ratio("sockstat.tcp.tw_ratio", stat, "TCP", "tw", v[0])
	}},
	{"udp_mem", 3, func(r *reading, stat sockstat, v []int) {
		r.add("sockstat.udp.mem_limit", float64(v[2])*r.pageKiB)
		r.ratio("sockstat.udp.mem_ratio", stat, "UDP", "mem", v[2])
	}},
	{"ip_local_port_range", 2, func(r *reading, _ sockstat, v []int) {
		r.add("sockstat.ports.range", float64(v[1]-v[0]+1))
	}},
}
