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

// Mode is how a Counter is to count.
type Mode string

// Auto takes EBPF where the kernel lets it, and SockDiag otherwise.
const (
	Auto     Mode = "auto"
	EBPF     Mode = "ebpf"
	SockDiag Mode = "sockdiag"
)

// Scope is whose sockets are counted.
type Scope string

const (
	// Host is every network namespace on the host.
	Host Scope = "host"
	// NetNS is the network namespace of the caller alone, as a sidecar wants it.
	NetNS Scope = "netns"
)

// DefaultMaxFlows bounds the flows of one interval, for TCP and for UDP each. The maps for it take
// 10 MiB of kernel memory each.
const DefaultMaxFlows = 16384

// Options are the settings of Open. The zero value counts the whole host in the best way possible.
type Options struct {
	Mode  Mode
	Scope Scope
	// MaxFlows is how many TCP flows and how many UDP flows an interval may have. What goes beyond is counted in overflow
	// records without addresses, so that sums stay true. 0 is DefaultMaxFlows.
	MaxFlows int
	// NoUDP leaves UDP out, and with it the programs that look at each packet.
	NoUDP bool
	// DNSPorts are the UDP ports that DNS is served at, at most four: 53 where nil, none where
	// empty, and then DNS is not tallied.
	DNSPorts []uint16
	// DNSTimeout is how long an answer may take, 15 s where 0.
	DNSTimeout time.Duration
	// DNSMaxNames is how many names an interval may have, 1000 where 0. What goes beyond is tallied
	// as dns.Other.
	DNSMaxNames int
	// Proc is where procfs is mounted, /proc by default. It must show the host's processes for
	// owners to be described in full.
	Proc string

	// refuse has tests refuse programs and maps as a kernel would, by name.
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

// tcpCounter delivers TCP's counts since its last call, each flow once, in any order.
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
	// tracer is nil where no program of package bpf runs.
	tracer *trace.Tracer
	// tcp is nil when the Counter is closed.
	tcp       tcpCounter
	tcpMerger *merger
	// udp is nil where UDP is not counted.
	udp       *trace.UDP
	udpMerger *merger
	// waiting are TCP's flows of a tally that UDP's made fail.
	waiting []end.Flow
}

var errClosed = errors.New("flow counter is closed")

// Open begins to count what the kernel allows to be counted, each part in the best way that it allows. In Auto
// mode it fails where nothing of TCP can be counted, in EBPF mode where the programs cannot count it: then the error
// has a *coverage.Refusal. Coverage says what was chosen, and what stood in the way of better.
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
	refused := coverage.ErrSockDiag
	if o.Mode != SockDiag {
		refused = c.openPrograms(o, processes)
	}
	if c.tcp != nil {
		return nil
	}
	if o.Mode == EBPF {
		return fmt.Errorf("trace flows by eBPF: %w", c.report.Explain(coverage.TCP, refused))
	}
	polled, err := sockdiag.Open(sockdiag.Options{OnlyCurrentNetns: o.Scope == NetNS, MaxFlows: o.MaxFlows, Proc: o.Proc})
	if err != nil {
		return errors.Join(err, c.report.Explain(coverage.TCP, refused))
	}
	c.tcp, c.source = polled, record.FromSockDiag
	if o.Mode == SockDiag {
		c.report.Add(coverage.TCP, coverage.BySockDiag)
	} else {
		c.report.Add(coverage.TCP, coverage.BySockDiag, refused)
	}
	if !o.NoUDP && c.report.Of(coverage.UDP) == nil {
		c.report.Add(coverage.UDP, "", refused)
	}
	return nil
}

// openPrograms counts TCP and UDP by the programs of package bpf, either without the other where the kernel
// wants it so, and returns why TCP is not counted so.
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
	told := c.report.Entries
	tcp, refused := t.OpenTCP()
	if refused == nil {
		c.tcp, c.source = tcp, record.FromEBPF
	} else {
		c.report.Entries = told
	}
	if o.NoUDP || refused != nil && o.Mode == EBPF {
		return refused
	}
	told = c.report.Entries
	if c.udp, err = t.OpenUDP(); err != nil {
		c.udp = nil
		c.report.Entries = told
		c.report.Add(coverage.UDP, "", err)
	}
	return refused
}

// Source is how the Counter counts TCP.
func (c *Counter) Source() record.Source { return c.source }

// Coverage is how each part that was asked for is counted, and what is lost where the kernel refused better.
func (c *Counter) Coverage() []coverage.Entry { return c.report.Entries }

// Tally returns what was counted since the last Tally or since Open, one record a flow, in no
// particular order. A flow that did nothing has no record. After an error the next Tally returns
// what this one could not.
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
			// For the names of servers. What is wrong with DNS is for TallyDNS to say.
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

// TallyDNS returns what became of DNS queries since the last TallyDNS or since Open, in no particular
// order. It returns none where UDP or DNS is not counted: see Coverage.
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
	ofUDP, err := c.udp.Losses()
	if err != nil {
		return coverage.Losses{}, err
	}
	losses.Add(ofUDP)
	return losses, nil
}

// Close ends the counting and gives back all that the Counter held in the kernel. What was counted
// since the last Tally is dropped. A second Close does nothing.
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
