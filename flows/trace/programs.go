package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/process"
)

// Options are the settings of a Tracer.
type Options struct {
	// OnlyOwnNetns counts the sockets of the caller's network namespace alone.
	OnlyCurrentNetns bool
	// MaxFlows is how many flows of TCP, and how many of UDP, an interval may have.
	MaxFlows int
	// DNSPorts are the ports of DNS servers, at most MaxDNSPorts; none for no DNS.
	DNSPorts []uint16
	// DNSTimeout and DNSMaxNames are as in dns.Options.
	DNSTimeout  time.Duration
	DNSMaxNames int
	// Proc is where procfs is mounted.
	Proc string
	// Refuse has tests refuse programs and maps, by name, as a kernel would.
	LoadFaults LoadFaults
}

// MaxDNSPorts is how many ports the programs compare with.
const MaxDNSPorts = 4

// Tracer is what the programs of TCP and of UDP have in common: the maps of owners, and the ring by which
// they tell of processes. Its object file is TCP's.
type Tracer struct {
	*objects
	options      Options
	report       *coverage.Report
	table        *process.Table
	currentNetns uint32 // the network namespace of Open's caller; 0 where the kernel has none
	// processes brings what the programs tell of processes to the table; nil where they cannot.
	processes *ring
}

// Open makes ready what the programs share. What processes tell goes to the table, and how each part is counted to
// the report.
func Open(o Options, table *process.Table, report *coverage.Report) (*Tracer, error) {
	s := &Tracer{options: o, report: report, table: table}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Tracer) open() error {
	o := s.options
	spec, err := bpf.LoadFlows()
	if err != nil {
		return err
	}
	sizeTables(spec.Maps[bpf.FlowsMapFlows], o.MaxFlows)
	spec.Maps[bpf.FlowsMapHandshakes].MaxEntries = uint32(max(o.MaxFlows, minHandshakes))
	if err := setScope(spec.Variables[bpf.FlowsVarOnlyNetns], o); err != nil {
		return err
	}
	if own, err := process.NetnsID(process.CurrentNetns(o.Proc)); err == nil {
		s.currentNetns = own
	}
	if err := spec.Variables[bpf.FlowsVarCurrentNetns].Set(s.currentNetns); err != nil {
		return err
	}
	ring, noRing := makeRing(spec, bpf.FlowsMapProcesses, o.LoadFaults)
	replaced := map[string]*ebpf.Map{}
	if noRing == nil {
		defer ring.Close() // what is loaded has it for itself
		replaced[bpf.FlowsMapProcesses] = ring
	} else if err := withoutProcesses(spec); err != nil {
		return err
	}
	if s.objects, err = loadMaps(spec, replaced, o.LoadFaults); err != nil {
		if noRing != nil { // no map is allowed, and this answer was the kernel's own
			return errors.Unwrap(noRing)
		}
		return err
	}
	if noRing != nil {
		s.addCoverage(coverage.Processes, coverage.ByProc, noRing)
		return nil
	}
	// Before any process is met: those that are met through their open files are read in /proc.
	if s.processes, err = newRing(s.Maps[bpf.FlowsMapProcesses], s.learn); err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	s.addCoverage(coverage.Processes, coverage.ByRing)
	return nil
}

// withoutProcesses has the programs of an object file tell nothing of processes.
func withoutProcesses(spec *ebpf.CollectionSpec) error {
	withoutRing(spec, bpf.FlowsMapProcesses)
	return spec.Variables[bpf.FlowsVarReportProcesses].Set(uint8(0))
}

// maps are what other programs share with TCP's.
func (s *Tracer) sharedMaps() map[string]*ebpf.Map {
	shared := make(map[string]*ebpf.Map)
	for _, name := range []string{bpf.FlowsMapProcesses, bpf.FlowsMapReportedProcesses, bpf.FlowsMapSockets} {
		shared[name] = s.Maps[name]
	}
	return shared
}

// CatchUp returns when the table has all that the programs have told of. What is wrong with that only
// takes names away.
func (s *Tracer) CatchUp(ctx context.Context) {
	if s != nil && s.processes != nil {
		_ = s.processes.catchUp(ctx)
	}
}

func (s *Tracer) addCoverage(part coverage.Part, by string, refused ...error) {
	s.report.Add(part, by, refused...)
}

// Close gives back what the programs share, after TCP and UDP are closed. A nil Tracer has nothing.
func (s *Tracer) Close() error {
	if s == nil {
		return nil
	}
	var err error
	if s.processes != nil {
		err = s.processes.close()
	}
	s.objects.close()
	return err
}

// learn takes what the programs tell of a process.
func (s *Tracer) learn(sample []byte) {
	var p bpf.FlowsProcess
	environ, ok := decode(sample, &p)
	if !ok || uint64(p.Size) > uint64(len(environ)) {
		return // not what the programs write
	}
	s.table.Learn(process.Snapshot{
		PID: p.Pid, StartID: p.StartId, CgroupID: p.Cgroup, Cgroup: cgroupPath(&p),
		Environ: environ[:p.Size], Total: int(p.Total),
	})
}

// cgroupPath is the last parts of a cgroup's path.
func cgroupPath(p *bpf.FlowsProcess) string {
	path := ""
	for i := range p.Cgroups {
		name, _, _ := bytes.Cut(p.Cgroups[i][:], []byte{0})
		switch {
		case len(name) == 0 || string(name) == "/":
		case path == "":
			path = string(name)
		default:
			path = string(name) + "/" + path
		}
	}
	return path
}

// setScope tells the programs of which namespace alone the sockets are counted, if of one.
func setScope(onlyNetns *ebpf.VariableSpec, o Options) error {
	if !o.OnlyCurrentNetns {
		return nil
	}
	own, err := process.NetnsID(process.CurrentNetns(o.Proc))
	if err != nil {
		return err
	}
	return onlyNetns.Set(own)
}
