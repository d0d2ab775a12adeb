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
	// OnlyCurrentNetns counts only the sockets of the caller's network namespace.
	OnlyCurrentNetns bool
	// MaxFlows is how many flows of TCP, and how many of UDP, an interval may have.
	MaxFlows int
	// DNSPorts are the ports of DNS servers, at most MaxDNSPorts. Without any, DNS is not counted.
	DNSPorts []uint16
	// DNSTimeout and DNSMaxNames are as in dns.Options.
	DNSTimeout  time.Duration
	DNSMaxNames int
	// Proc is where procfs is mounted.
	Proc string
	// LoadFaults are for tests.
	LoadFaults LoadFaults
}

// MaxDNSPorts is how many DNS ports the programs can have.
const MaxDNSPorts = 4

// Tracer is what the programs for TCP and UDP share: the maps of owners, and the ring buffer of processes. It owns the
// object file for TCP.
type Tracer struct {
	*objects
	options      Options
	report       *coverage.Report
	table        *process.Table
	currentNetns uint32 // network namespace of the caller of Open; 0 if the kernel has none
	// processes reads the snapshots of processes into the table. It is nil if there is no ring buffer.
	processes *ring
}

// Open makes what the programs share. Snapshots of processes go to the table, and how each part is counted goes to the
// report.
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
	if current, err := process.NetnsID(process.CurrentNetns(o.Proc)); err == nil {
		s.currentNetns = current
	}
	if err := spec.Variables[bpf.FlowsVarCurrentNetns].Set(s.currentNetns); err != nil {
		return err
	}
	ring, ringErr := makeRing(spec, bpf.FlowsMapProcesses, o.LoadFaults)
	replaced := map[string]*ebpf.Map{}
	if ringErr == nil {
		defer ring.Close() // the loaded collection has its own descriptor
		replaced[bpf.FlowsMapProcesses] = ring
	} else if err := withoutProcesses(spec); err != nil {
		return err
	}
	if s.objects, err = loadMaps(spec, replaced, o.LoadFaults); err != nil {
		if ringErr != nil { // the kernel allows no map at all; its first error is the better one
			return errors.Unwrap(ringErr)
		}
		return err
	}
	if ringErr != nil {
		s.addCoverage(coverage.Processes, coverage.ByProc, ringErr)
		return nil
	}
	// This starts before seeding. Seeding reports many processes that are not the current task; the environment of
	// those is read from /proc.
	if s.processes, err = newRing(s.Maps[bpf.FlowsMapProcesses], s.learn); err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	s.addCoverage(coverage.Processes, coverage.ByRing)
	return nil
}

// withoutProcesses keeps the programs of an object file from reporting processes.
func withoutProcesses(spec *ebpf.CollectionSpec) error {
	withoutRing(spec, bpf.FlowsMapProcesses)
	return spec.Variables[bpf.FlowsVarReportProcesses].Set(uint8(0))
}

// sharedMaps are the maps that the object files share.
func (s *Tracer) sharedMaps() map[string]*ebpf.Map {
	shared := make(map[string]*ebpf.Map)
	for _, name := range []string{bpf.FlowsMapProcesses, bpf.FlowsMapReportedProcesses, bpf.FlowsMapSockets} {
		shared[name] = s.Maps[name]
	}
	return shared
}

// CatchUp returns when the table has all snapshots so far. It ignores errors: without a snapshot only names are
// missing.
func (s *Tracer) CatchUp(ctx context.Context) {
	if s != nil && s.processes != nil {
		_ = s.processes.catchUp(ctx)
	}
}

func (s *Tracer) addCoverage(part coverage.Part, by string, errs ...error) {
	s.report.Add(part, by, errs...)
}

// Close frees what the programs share. TCP and UDP must be closed before. A nil Tracer has nothing to close.
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

// learn adds a snapshot to the table.
func (s *Tracer) learn(sample []byte) {
	var p bpf.FlowsProcess
	environ, ok := decode(sample, &p)
	if !ok || uint64(p.Size) > uint64(len(environ)) {
		return // the programs never write this
	}
	s.table.Learn(process.Snapshot{
		PID: p.Pid, StartID: p.StartId, CgroupID: p.Cgroup, Cgroup: cgroupPath(&p),
		Environ: environ[:p.Size], Total: int(p.Total),
	})
}

// cgroupPath returns the last parts of the path of a cgroup.
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

// setScope sets the network namespace to count in, if it is only one.
func setScope(onlyNetns *ebpf.VariableSpec, o Options) error {
	if !o.OnlyCurrentNetns {
		return nil
	}
	current, err := process.NetnsID(process.CurrentNetns(o.Proc))
	if err != nil {
		return err
	}
	return onlyNetns.Set(current)
}
