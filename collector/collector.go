// Package collector reads the kernel's socket counters and the limits that give them a meaning.
//
// Each file of the kernel is one source, and what is read of it is named in the metric catalogue: a new file is a
// function that reads it, a line in sources, and the catalogue's lines. The path through self is used because
// systemd's ProcSubset=pid hides /proc/net. The kernel prints some counters for the whole kernel and others for the
// reader's network namespace; the scope of each is in the catalogue.
//
// Settings are read by github.com/prometheus/procfs. The other files have readers of their own here, because of what
// that module's do. That of sockstat gives up the whole file for one word that is no number, and gives 0 for a line
// without inuse. That of netstat leaves out TCPMemoryPressures and TCPAbortOnMemory. Those of snmp and protocols give
// up what follows an odd word, and the latter panics over a short line.
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
	// read adds the samples of the file to the reading. Its error says what was read; that the file is not there
	// is one that counts only where required.
	read     func(r *reading, path string) error
	required bool
}

// sources are read in this order: a limit after what it bounds.
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
		sysctl("net/netfilter/nf_conntrack_count", 1, conntrackCount), // where the module is loaded
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

// New returns a Collector over the proc file system mounted at procRoot, "/proc" outside of tests.
// With scope metric.NetNS the readings leave out what is counted for the whole kernel. It is an
// error if procRoot is not a proc file system.
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

// Read takes one reading and stamps its samples with now. What the catalogue has as a count comes as metric.Cumulative:
// what the kernel counted since the network namespace began. A file, a line or a field that the
// kernel does not have makes no sample. A file that cannot be read or understood is an error that
// names it; the samples of all other files are returned beside the error.
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
	faults  []error // names that the catalogue lacks
	// values are the numbers that a limit bounds, as the kernel prints them, such as "tcp.mem" in pages.
	values map[string]int
	buffer []byte // of contents
}

// add appends a sample, unless it is counted for the whole kernel and only the namespace is asked for. A name that the
// catalogue lacks is a fault of the program.
func (r *reading) add(name string, value float64) {
	d, known := metric.Lookup(name)
	if !known {
		r.faults = append(r.faults, fmt.Errorf("metric %s is not in the catalogue", name))
		return
	}
	r.addDefined(d, value)
}

// addIfKnown is add for a name that is made of the kernel's words: a newer one may have others, which are passed over.
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

// ratio adds value/limit, where both exist and the limit allows anything at all.
func (r *reading) ratio(name, value string, limit int) {
	if v, found := r.values[value]; found && limit > 0 {
		r.add(name, float64(v)/float64(limit))
	}
}
