// Package collector reads the kernel's socket counters and their limits.
//
// Each file of the kernel is one source. Its metrics are in the metric catalogue. A new file needs a function that reads it,
// a line in sources, and lines in the catalogue. Files are read through /proc/self, because systemd's ProcSubset=pid hides
// /proc/net. Some counters are for the whole kernel, others for the reader's network namespace: the catalogue has the
// scope of each.
package collector

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"

	"socktally/metric"
)

// source is one file of the kernel.
type source struct {
	file string // below the proc file system
	// read adds the samples of the file to the reading. The error names the file. It is ignored if the file does not
	// exist and is not required.
	read     func(r *reading, path string) error
	required bool
}

// sources returns the sources in the order in which they are read. A limit comes after the counter that it limits.
func sources() []source {
	return []source{
		{"self/net/sockstat", sockstat, true},
		{"self/net/sockstat6", sockstat6, false}, // missing if IPv6 is off
		{"sys/net/ipv4/tcp_mem", sysctl(3, tcpMem), false},
		{"sys/net/ipv4/tcp_max_orphans", sysctl(1, tcpMaxOrphans), false},
		{"sys/net/ipv4/tcp_max_tw_buckets", sysctl(1, tcpMaxTWBuckets), false},
		{"sys/net/ipv4/udp_mem", sysctl(3, udpMem), false},
		{"sys/net/ipv4/ip_local_port_range", sysctl(2, localPortRange), false},
	}
}

// Collector takes readings. It keeps no file open and is safe for concurrent use.
type Collector struct {
	root    string
	self    procfs.FS
	scope   metric.Scope
	pageKiB float64
	sources []source
}

// New returns a Collector for the proc file system at procRoot, which is "/proc" except in tests. With the scope
// metric.NetNS, readings do not have the counters for the whole kernel. It fails if procRoot is not a proc file system.
func New(procRoot string, scope metric.Scope) (*Collector, error) {
	self, err := procfs.NewFS(filepath.Join(procRoot, "self"))
	if err != nil {
		return nil, fmt.Errorf("open proc file system: is proc mounted at %s? %w", procRoot, err)
	}
	return &Collector{root: procRoot, self: self, scope: scope, pageKiB: float64(os.Getpagesize()) / 1024, sources: sources()}, nil
}

// Read takes one reading. The samples have the time now. There is no sample for a file, a line or a field that the kernel
// does not have. If a file cannot be read or parsed, the error names it, and the samples of all other files are returned
// together with the error.
func (c *Collector) Read(now time.Time) ([]metric.Sample, error) {
	r := reading{self: c.self, scope: c.scope, now: now, pageKiB: c.pageKiB, samples: make([]metric.Sample, 0, 32)}
	var errs []error
	for _, s := range c.sources {
		err := s.read(&r, filepath.Join(c.root, s.file))
		if err != nil && (s.required || !errors.Is(err, os.ErrNotExist)) {
			errs = append(errs, err)
		}
	}
	return r.samples, errors.Join(append(errs, r.faults...)...)
}

// reading collects the samples of one moment.
type reading struct {
	self    procfs.FS
	scope   metric.Scope
	now     time.Time
	pageKiB float64
	samples []metric.Sample
	faults  []error // names that are not in the catalogue
	// tcp and udp are lines of sockstat, for the ratios.
	tcp, udp procfs.NetSockstatProtocol
}

// add appends a gauge. Metrics for the whole kernel are left out with the scope metric.NetNS. It is a fault of the program
// if the name is not in the catalogue.
func (r *reading) add(name string, value float64) {
	d, known := metric.Lookup(name)
	if !known {
		r.faults = append(r.faults, fmt.Errorf("metric %s is not in the catalogue", name))
		return
	}
	r.addDefined(d, value)
}

// addIfKnown is add for names that are made from the kernel's names. A newer kernel may have more of them; those are
// ignored.
func (r *reading) addIfKnown(name string, value float64) {
	if d, known := metric.Lookup(name); known {
		r.addDefined(d, value)
	}
}

func (r *reading) addDefined(d metric.Definition, value float64) {
	if r.scope == metric.NetNS && d.Scope == metric.Host {
		return
	}
	r.samples = append(r.samples, metric.Sample{Name: d.Name, Kind: metric.Gauge, Value: value, Time: r.now})
}

// ratio adds value/limit, if there is a value and the limit is not 0.
func (r *reading) ratio(name string, value *int, limit int) {
	if value != nil && limit > 0 {
		r.add(name, float64(*value)/float64(limit))
	}
}
