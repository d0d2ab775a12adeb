package flows

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"socktally/flows/coverage"
	"socktally/flows/end"
	"socktally/flows/process"
	"socktally/flows/sockdiag"
	"socktally/flows/trace"
	"socktally/record"
)

// Mode is how a Counter counts.
type Mode string

// Auto is EBPF if the kernel allows it, else SockDiag.
const (
	Auto     Mode = "auto"
	EBPF     Mode = "ebpf"
	SockDiag Mode = "sockdiag"
)

// Scope says which sockets are counted.
type Scope string

const (
	// Host is every network namespace on the host.
	Host Scope = "host"
	// NetNS is only the network namespace of the caller. It is for a sidecar.
	NetNS Scope = "netns"
)

// DefaultMaxFlows is how many flows an interval may have by default, for TCP and for UDP each. The maps for each of
// them take 10 MiB of kernel memory.
const DefaultMaxFlows = 16384

// Options are the settings of Open. The zero value counts the whole host in the best way that the kernel allows.
type Options struct {
	Mode  Mode
	Scope Scope
	// MaxFlows is how many TCP flows and how many UDP flows an interval may have. Flows beyond that are summed in
	// overflow records without addresses. 0 is DefaultMaxFlows.
	MaxFlows int
	// NoUDP turns UDP and DNS off, and with them the programs that run for each packet.
	NoUDP bool
	// DNSPorts are the ports of DNS servers, at most four. nil is port 53. Without any port, DNS is not tallied.
	DNSPorts []uint16
	// DNSTimeout is how long an answer may take. 0 is 15 s.
	DNSTimeout time.Duration
	// DNSMaxNames is how many names an interval may have. 0 is 1000. Names beyond that are summed as record.Other.
	DNSMaxNames int
	// Proc is where procfs is mounted, /proc by default. Owners are complete only if it shows all processes of the
	// host.
	Proc string

	// loadFaults are programs and maps that fail to load, for tests.
	loadFaults trace.LoadFaults
}

func (o Options) withDefaults() (Options, error) {
	if o.Mode == "" {
		o.Mode = Auto
	}
	if o.Scope == "" {
		o.Scope = Host
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = DefaultMaxFlows
	}
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.DNSPorts == nil {
		o.DNSPorts = []uint16{53}
	}
	switch {
	case o.Mode != Auto && o.Mode != EBPF && o.Mode != SockDiag:
		return o, fmt.Errorf("flows mode %q: must be auto, ebpf or sockdiag", o.Mode)
	case o.Scope != Host && o.Scope != NetNS:
		return o, fmt.Errorf("flows scope %q: must be host or netns", o.Scope)
	case len(o.DNSPorts) > trace.MaxDNSPorts:
		return o, fmt.Errorf("DNS ports %v: must be at most %d", o.DNSPorts, trace.MaxDNSPorts)
	case o.DNSTimeout < 0 || o.DNSMaxNames < 0:
		return o, fmt.Errorf("DNS timeout %v, names %d: must not be negative", o.DNSTimeout, o.DNSMaxNames)
	case o.MaxFlows < 1 || o.MaxFlows > 1<<24:
		return o, fmt.Errorf("max flows %d: must be between 1 and %d", o.MaxFlows, 1<<24)
	}
	return o, nil
}

// tcpCounter counts TCP. Flows returns the counts since its last call, each flow once, in any order.
type tcpCounter interface {
	Flows(ctx context.Context) ([]end.Flow, error)
	Losses() (coverage.Losses, error)
	Close() error
}

// Counter counts flows from Open to Close. Its methods may be called concurrently.
type Counter struct {
	source record.Source
	report coverage.Report

	mu sync.Mutex
	// tracer is nil if no BPF program runs.
	tracer *trace.Tracer
	// tcp is nil after Close.
	tcp       tcpCounter
	tcpMerger *merger
	// udp is nil if UDP is not counted.
	udp       *trace.UDP
	udpMerger *merger
	// waiting are the TCP flows of a tally that failed for UDP. The next tally returns them.
	waiting []end.Flow
}

var errClosed = errors.New("flow counter is closed")

// Open starts to count each part in the best way that the kernel allows. In mode Auto it fails if TCP cannot be counted
// at all. In mode EBPF it fails if the BPF programs cannot count TCP; the error then wraps a *coverage.LoadError. The
// method Coverage says how each part is counted, and why not in a better way.
func Open(options Options) (*Counter, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Counter{report: coverage.Report{Facts: coverage.ReadFacts(o.Proc)}}
	processes := process.NewTable(o.Proc, o.MaxFlows)
	if err := c.open(o, processes); err != nil {
		return nil, errors.Join(err, c.release())
	}
	c.report.Sort()
	c.tcpMerger = newMerger("tcp", c.source, processes, o.MaxFlows)
	c.udpMerger = newMerger("udp", record.FromEBPF, processes, o.MaxFlows)
	return c, nil
}

func (c *Counter) open(o Options, processes *process.Table) error {
	traceErr := coverage.ErrSockDiag
	if o.Mode != SockDiag {
		traceErr = c.openPrograms(o, processes)
	}
	if c.tcp != nil {
		return nil
	}
	if o.Mode == EBPF {
		return fmt.Errorf("trace flows by eBPF: %w", c.report.Explain(coverage.TCP, traceErr))
	}
	polled, err := sockdiag.Open(sockdiag.Options{OnlyCurrentNetns: o.Scope == NetNS, MaxFlows: o.MaxFlows, Proc: o.Proc})
	if err != nil {
		return errors.Join(err, c.report.Explain(coverage.TCP, traceErr))
	}
	c.tcp, c.source = polled, record.FromSockDiag
	if o.Mode == SockDiag {
		c.report.Add(coverage.TCP, coverage.BySockDiag)
	} else {
		c.report.Add(coverage.TCP, coverage.BySockDiag, traceErr)
	}
	if !o.NoUDP && c.report.Of(coverage.UDP) == nil {
		c.report.Add(coverage.UDP, "", traceErr)
	}
	return nil
}

// openPrograms starts to count TCP and UDP by BPF programs. One of them may fail without the other. It returns why
// TCP cannot be counted in this way.
func (c *Counter) openPrograms(o Options, processes *process.Table) error {
	t, err := trace.Open(trace.Options{
		OnlyCurrentNetns: o.Scope == NetNS, MaxFlows: o.MaxFlows,
		DNSPorts: o.DNSPorts, DNSTimeout: o.DNSTimeout, DNSMaxNames: o.DNSMaxNames,
		Proc: o.Proc, LoadFaults: o.loadFaults,
	}, processes, &c.report)
	if err != nil {
		return err
	}
	c.tracer = t
	entries := c.report.Entries
	tcp, tcpErr := t.OpenTCP()
	if tcpErr == nil {
		c.tcp, c.source = tcp, record.FromEBPF
	} else {
		c.report.Entries = entries
	}
	if o.NoUDP || tcpErr != nil && o.Mode == EBPF {
		return tcpErr
	}
	entries = c.report.Entries
	if c.udp, err = t.OpenUDP(); err != nil {
		c.udp = nil
		c.report.Entries = entries
		c.report.Add(coverage.UDP, "", err)
	}
	return tcpErr
}

// Source says how the Counter counts TCP.
func (c *Counter) Source() record.Source { return c.source }

// Coverage says how each part that was asked for is counted, and what is lost if it is not the best way.
func (c *Counter) Coverage() []coverage.Entry { return c.report.Entries }

// Tally returns the flows since the last Tally or since Open, one record for each flow, in no particular order. A flow
// without any activity has no record. If it fails, the next Tally returns these counts too.
func (c *Counter) Tally(ctx context.Context) ([]record.Flow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return nil, errClosed
	}
	connections, err := c.tcp.Flows(ctx)
	if err != nil {
		return nil, fmt.Errorf("tally flows: %w", err)
	}
	c.waiting = append(c.waiting, connections...)
	var datagrams []end.Flow
	if c.udp != nil {
		if c.udp.DNS != nil {
			// The names of servers should be up to date. TallyDNS reports errors of DNS.
			_ = c.udp.DNS.CatchUp(ctx)
		}
		if datagrams, err = c.udp.Flows(); err != nil {
			return nil, fmt.Errorf("tally UDP flows: %w", err)
		}
	}
	c.tracer.CatchUp(ctx)
	records := c.tcpMerger.merge(c.waiting)
	c.waiting = nil
	records = append(records, c.udpMerger.merge(datagrams)...)
	if c.udp != nil && c.udp.DNS != nil {
		c.udp.DNS.NameServers(records)
	}
	return records, nil
}

// TallyDNS returns the DNS queries since the last TallyDNS or since Open, in no particular order. It returns none if UDP
// or DNS is not counted: see Coverage.
func (c *Counter) TallyDNS(ctx context.Context) ([]record.DNS, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return nil, errClosed
	}
	if c.udp == nil || c.udp.DNS == nil {
		return nil, nil
	}
	if err := c.udp.DNS.CatchUp(ctx); err != nil {
		return nil, fmt.Errorf("tally DNS: %w", err)
	}
	taken := c.udp.DNS.Take()
	c.tracer.CatchUp(ctx)
	records := make([]record.DNS, 0, len(taken))
	for k, counts := range taken {
		m := c.udpMerger
		if k.TCP {
			m = c.tcpMerger
		}
		records = append(records, m.dnsRecord(k, counts))
	}
	return records, nil
}

// Losses returns what could not be counted since Open.
func (c *Counter) Losses() (coverage.Losses, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return coverage.Losses{}, errClosed
	}
	losses, err := c.tcp.Losses()
	if err != nil || c.udp == nil {
		return losses, err
	}
	udpLosses, err := c.udp.Losses()
	if err != nil {
		return coverage.Losses{}, err
	}
	losses.Add(udpLosses)
	return losses, nil
}

// Close stops counting and frees everything in the kernel. Counts since the last Tally are lost. A second Close does
// nothing.
func (c *Counter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.release()
}

func (c *Counter) release() error {
	var errs []error
	if c.udp != nil {
		errs = append(errs, c.udp.Close())
		c.udp = nil
	}
	if c.tcp != nil {
		errs = append(errs, c.tcp.Close())
		c.tcp = nil
	}
	errs = append(errs, c.tracer.Close())
	c.tracer = nil
	return errors.Join(errs...)
}
