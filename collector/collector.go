// Package collector reads the kernel's socket counters and the limits that give them a meaning.
//
// Each file of the kernel is one source. Its metrics are in the metric catalogue. A new file needs a function that reads
// it, a line in sources, and lines in the catalogue. The paths go through /proc/self, because systemd's ProcSubset=pid
// hides /proc/net. Some counters are for the whole kernel and others for the network namespace of the reader. The
// catalogue has the scope of each.
//
// github.com/prometheus/procfs reads the settings. This package reads the other files itself, for these reasons. The
// module's reader of sockstat rejects the whole file if one word is not a number, and gives 0 for a line without inuse.
// Its reader of netstat leaves out TCPMemoryPressures and TCPAbortOnMemory. Its readers of snmp and protocols drop
// everything after an odd word, and that of protocols panics on a short line.
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
	// read adds the samples of the file to the reading. Its error says what was read. If the file does not exist, that
	// is an error only if required is set.
	read     func(r *reading, path string) error
	required bool
}

// sources returns the sources in the order of reading. A limit comes after the counter that it limits, because its
// ratio needs the counter.
func sources() []source {
	return []source{
		{"self/net/sockstat", sockstat, true},
		{"self/net/sockstat6", sockstat6, false}, // a kernel with IPv6 off has none
		sysctl("net/ipv4/tcp_mem", 3, tcpMem),
		sysctl("net/ipv4/tcp_max_orphans", 1, tcpMaxOrphans),
		sysctl("net/ipv4/tcp_max_tw_buckets", 1, tcpMaxTWBuckets),
		sysctl("net/ipv4/udp_mem", 3, udpMem),
		{"sys/net/ipv4/ip_local_port_range", portRange, false},
		{"self/net/snmp", counters("snmp"), false},
		{"self/net/netstat", counters("netstat"), false},
		{"self/net/protocols", protocols, false},
		sysctl("net/netfilter/nf_conntrack_count", 1, conntrackCount), // exists only if the module is loaded
		sysctl("net/netfilter/nf_conntrack_max", 1, conntrackMax),
	}
}

// Collector takes readings. It holds no open file and is safe for concurrent use.
type Collector struct {
	root    string
	proc    procfs.FS
	scope   metric.Scope
	pageKiB float64
	sources []source
}

// New returns a Collector for the proc file system at procRoot, which is "/proc" outside of tests. With scope
// metric.NetNS the readings leave out the counters of the whole kernel. It is an error if procRoot is not a proc file
// system.
func New(procRoot string, scope metric.Scope) (*Collector, error) {
	proc, err := procfs.NewFS(procRoot)
	if err == nil {
		_, err = os.Stat(filepath.Join(procRoot, "self"))
	}
	if err != nil {
		return nil, fmt.Errorf("open proc file system: is proc mounted at %s? %w", procRoot, err)
	}
	return &Collector{root: procRoot, proc: proc, scope: scope, pageKiB: float64(os.Getpagesize()) / 1024, sources: sources()}, nil
}

// Read takes one reading. Its samples have the time now. A count of the catalogue is returned as metric.Cumulative, the
// number since the network namespace began. If the kernel does not have a file, a line or a field, there is no sample
// of it. If a file cannot be read or understood, the error names it, and the samples of the other files are returned
// beside the error.
func (c *Collector) Read(now time.Time) ([]metric.Sample, error) {
	r := reading{
		proc: c.proc, scope: c.scope, now: now, pageKiB: c.pageKiB, samples: make([]metric.Sample, 0, 64),
		values: make(map[string]int, 32), buffer: make([]byte, 16<<10),
	}
	var errs []error
	for _, s := range c.sources {
		err := s.read(&r, filepath.Join(c.root, s.file))
		if err != nil && (s.required || !errors.Is(err, os.ErrNotExist)) {
			errs = append(errs, err)
		}
	}
	return r.samples, errors.Join(append(errs, r.faults...)...)
}

// reading gathers the samples of one moment.
type reading struct {
	proc    procfs.FS
	scope   metric.Scope
	now     time.Time
	pageKiB float64
	samples []metric.Sample
	faults  []error // names that are not in the catalogue
	// values are the numbers that have a limit, as the kernel prints them, such as "tcp.mem" in pages.
	values map[string]int
	buffer []byte // of contents
}

// add appends a sample. It leaves out a counter of the whole kernel if only those of the namespace are wanted. A name
// that is not in the catalogue is a mistake in this program, and is reported as a fault.
func (r *reading) add(name string, value float64) {
	d, known := metric.Lookup(name)
	if !known {
		r.faults = append(r.faults, fmt.Errorf("metric %s is not in the catalogue", name))
		return
	}
	r.addDefined(d, value)
}

// addIfKnown is add for a name made of words that the kernel prints. A newer kernel may print new words, so a name that
// is not in the catalogue is ignored.
func (r *reading) addIfKnown(name string, value float64) {
	if d, known := metric.Lookup(name); known {
		r.addDefined(d, value)
	}
}

func (r *reading) addDefined(d metric.Definition, value float64) {
	if r.scope == metric.NetNS && d.Scope == metric.Host {
		return
	}
	kind := d.Kind
	if kind == metric.Count {
		kind = metric.Cumulative
	}
	r.samples = append(r.samples, metric.Sample{Name: d.Name, Kind: kind, Value: value, Time: r.now})
}

// ratio adds value/limit if the value exists and the limit is above 0.
func (r *reading) ratio(name, value string, limit int) {
	if v, found := r.values[value]; found && limit > 0 {
		r.add(name, float64(v)/float64(limit))
	}
}
