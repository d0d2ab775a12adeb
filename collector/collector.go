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

	"github.com/prometheus/procfs"

	"socktally/metric"
)

// Collector takes readings. It holds no open file and is safe for concurrent use.
type Collector struct {
	root    string
	self    procfs.FS
	scope   metric.Scope
	pageKiB float64
}

// New returns a Collector over the proc file system mounted at procRoot, "/proc" outside of tests.
// With scope metric.NetNS the readings leave out what is counted for the whole kernel. It is an
// error if procRoot is not a proc file system.
func New(procRoot string, scope metric.Scope) (*Collector, error) {
	self, err := procfs.NewFS(filepath.Join(procRoot, "self"))
	if err != nil {
		return nil, fmt.Errorf("open proc file system: is proc mounted at %s? %w", procRoot, err)
	}
	return &Collector{root: procRoot, self: self, scope: scope, pageKiB: float64(os.Getpagesize()) / 1024}, nil
}

// Read takes one reading and stamps its samples with now. A file, a line or a field that the
// kernel does not have makes no sample. A file that cannot be read or understood is an error that
// names it; the samples of all other files are returned beside the error.
func (c *Collector) Read(now time.Time) ([]metric.Sample, error) {
	r := reading{scope: c.scope, now: now, pageKiB: c.pageKiB, samples: make([]metric.Sample, 0, 32)}
	var errs []error

	stat, err := c.self.NetSockstat()
	if err == nil && len(stat.Protocols) == 0 {
		err = fmt.Errorf("%s holds no protocol", filepath.Join(c.root, "self/net/sockstat"))
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("read sockstat: %w", err))
		stat = &procfs.NetSockstat{}
	}
	// A kernel with IPv6 off has no sockstat6.
	stat6, err := c.self.NetSockstat6()
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read sockstat6: %w", err))
		}
		stat6 = &procfs.NetSockstat{}
	}

	if stat.Used != nil {
		r.add("sockstat.sockets.used", float64(*stat.Used))
	}
	for _, p := range append(stat.Protocols, stat6.Protocols...) {
		r.protocol(p)
	}
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

// protocol adds the samples of one line of sockstat. Lines of protocols that are not in the
// catalogue are passed over, as a newer kernel may have them.
func (r *reading) protocol(p procfs.NetSockstatProtocol) {
	prefix := "sockstat." + strings.ToLower(p.Protocol) + "."
	r.add(prefix+"inuse", float64(p.InUse))
	for _, f := range []struct {
		field string
		value *int
		unit  float64
	}{
		{"orphan", p.Orphan, 1},
		{"tw", p.TW, 1},
		{"alloc", p.Alloc, 1},
		{"mem", p.Mem, r.pageKiB}, // pages
		{"memory", p.Memory, 1},   // bytes
	} {
		if f.value != nil {
			r.add(prefix+f.field, float64(*f.value)*f.unit)
		}
	}
}

// ratio adds value/limit, where both exist and the limit allows anything at all.
func (r *reading) ratio(name string, value *int, limit int) {
	if value != nil && limit > 0 {
		r.add(name, float64(*value)/float64(limit))
	}
}

// limits are the settings that bound the counters, each with the samples that it makes.
var limits = []struct {
	sysctl string // below /proc/sys/net/ipv4
	fields int
	add    func(r *reading, stat *procfs.NetSockstat, v []int)
}{
	{"tcp_mem", 3, func(r *reading, stat *procfs.NetSockstat, v []int) {
		r.add("sockstat.tcp.mem_pressure", float64(v[1])*r.pageKiB)
		r.add("sockstat.tcp.mem_limit", float64(v[2])*r.pageKiB)
		r.ratio("sockstat.tcp.mem_ratio", find(stat, "TCP").Mem, v[2])
	}},
	{"tcp_max_orphans", 1, func(r *reading, stat *procfs.NetSockstat, v []int) {
		r.add("sockstat.tcp.orphan_limit", float64(v[0]))
		r.ratio("sockstat.tcp.orphan_ratio", find(stat, "TCP").Orphan, v[0])
	}},
	{"tcp_max_tw_buckets", 1, func(r *reading, stat *procfs.NetSockstat, v []int) {
		r.add("sockstat.tcp.tw_limit", float64(v[0]))
		r.ratio("sockstat.tcp.tw_ratio", find(stat, "TCP").TW, v[0])
	}},
	{"udp_mem", 3, func(r *reading, stat *procfs.NetSockstat, v []int) {
		r.add("sockstat.udp.mem_limit", float64(v[2])*r.pageKiB)
		r.ratio("sockstat.udp.mem_ratio", find(stat, "UDP").Mem, v[2])
	}},
	{"ip_local_port_range", 2, func(r *reading, _ *procfs.NetSockstat, v []int) {
		r.add("sockstat.ports.range", float64(v[1]-v[0]+1))
	}},
}

// find returns the line of a protocol, or one without any field.
func find(stat *procfs.NetSockstat, protocol string) procfs.NetSockstatProtocol {
	for _, p := range stat.Protocols {
		if p.Protocol == protocol {
			return p
		}
	}
	return procfs.NetSockstatProtocol{}
}
