package flows

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"socktally/bpf"
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

// maxDNSPorts is how many ports the programs compare with.
const maxDNSPorts = 4

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
	refuse refuser
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
	case len(o.DNSPorts) > maxDNSPorts:
		return o, fmt.Errorf("DNS ports %v: must be at most %d", o.DNSPorts, maxDNSPorts)
	case o.DNSTimeout < 0 || o.DNSMaxNames < 0:
		return o, fmt.Errorf("DNS timeout %v, names %d: must not be negative", o.DNSTimeout, o.DNSMaxNames)
	case o.MaxFlows < 1 || o.MaxFlows > 1<<24:
		return o, fmt.Errorf("max flows %d: must be between 1 and %d", o.MaxFlows, 1<<24)
	}
	return o, nil
}

// Losses says what could not be counted, or not under its own flow, since the Counter was opened.
type Losses struct {
	// StorageRefused is how many times the kernel had no memory for a socket's storage. Sums include
	// such a socket's datagrams, without an owner.
	StorageRefused uint64
	// TableFull is how many tallies of a socket, or datagrams, went to an overflow record. Sums
	// include them.
	TableFull uint64
	// Untracked is how many connections closed of which nothing was known, and so nothing counted:
	// older than the Counter and held by no process and no namespace that it could look into.
	Untracked uint64
	// Uncounted is how many tallies of a socket, or datagrams, had no record at all to go to.
	Uncounted uint64
	// Unowned is how many connections, not older than the Counter, nobody saw begin. Sums include them,
	// without an owner.
	Unowned uint64
	// ProcessesMissed is how many times there was no room for what a process says of itself. Its name is
	// then what it says when the flows are tallied, if it is still there.
	ProcessesMissed uint64
	// Unreadable is how many times a network namespace could not be polled (SockDiag only).
	Unreadable uint64
	// DNSDropped is how many DNS packets found no room to be copied into. DNSMalformed could not be
	// parsed, DNSUnmatched were answers to no query that waited, DNSUntracked queries for which too
	// many others waited: they are counted as requests, and nothing is known of their answers.
	DNSDropped, DNSMalformed, DNSUnmatched, DNSUntracked uint64
}

// source delivers TCP's counts since its last call: rows of any order, each key once.
type source interface {
	rows(ctx context.Context) ([]row, error)
	losses() (Losses, error)
	// countsRTOs says whether the kernel counts retransmission timeouts (from 6.7 on).
	countsRTOs() bool
	close() error
}

// row is one flow of one interval as one end saw it.
type row struct {
	key  bpf.FlowsFlowKey
	flow bpf.FlowsFlow
}

// Counter counts flows from Open to Close. Its methods may be called concurrently.
type Counter struct {
	kind     record.Source
	coverage coverage

	mu sync.Mutex
	// shared is nil where no program of package bpf runs.
	shared *shared
	// tcp is nil when the Counter is closed.
	tcp    source
	merger *merger
	// udp is nil where UDP is not counted.
	udp       *udpTracer
	udpMerger *merger
	// waiting are TCP's rows of a tally that UDP's made fail.
	waiting []row
}

var (
	errClosed   = errors.New("flow counter is closed")
	errSockDiag = errors.New("sock_diag has no counts for it")
)

// Open begins to count what the kernel allows to be counted, each Part in the best way that it allows. In Auto
// mode it fails where nothing of TCP can be counted, in EBPF mode where the programs cannot count it: then the error
// has a *Refusal. Coverage says what was chosen, and what stood in the way of better.
func Open(options Options) (*Counter, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Counter{coverage: coverage{facts: readFacts(o.Proc)}}
	describer := newDescriber(o.Proc, o.MaxFlows)
	if err := c.open(o, describer); err != nil {
		return nil, errors.Join(err, c.release())
	}
	c.coverage.sort()
	c.merger = newMerger("tcp", c.kind, describer, o.MaxFlows)
	c.merger.countsRTOs = c.tcp.countsRTOs()
	c.udpMerger = newMerger("udp", record.FromEBPF, describer, o.MaxFlows)
	return c, nil
}

func (c *Counter) open(o Options, describer *describer) error {
	refused := errSockDiag
	if o.Mode != SockDiag {
		refused = c.openPrograms(o, describer)
	}
	if c.tcp != nil {
		return nil
	}
	if o.Mode == EBPF {
		return fmt.Errorf("trace flows by eBPF: %w", c.coverage.explain(PartTCP, refused))
	}
	var err error
	if c.tcp, err = openDiag(o); err != nil {
		return errors.Join(err, c.coverage.explain(PartTCP, refused))
	}
	c.kind = record.FromSockDiag
	if o.Mode == SockDiag {
		c.coverage.add(PartTCP, bySockDiag)
	} else {
		c.coverage.add(PartTCP, bySockDiag, refused)
	}
	if c.udp == nil && !o.NoUDP && c.coverage.of(PartUDP) == nil {
		c.coverage.add(PartUDP, "", refused)
	}
	return nil
}

// openPrograms counts TCP and UDP by the programs of package bpf, either without the other where the kernel
// wants it so, and returns why TCP is not counted so.
func (c *Counter) openPrograms(o Options, describer *describer) error {
	s, err := openShared(o, describer, &c.coverage)
	if err != nil {
		return err
	}
	c.shared = s
	before := len(c.coverage.parts)
	tcp, refused := openTCP(o, s)
	if refused == nil {
		c.tcp, c.kind = tcp, record.FromEBPF
	} else {
		c.coverage.parts = c.coverage.parts[:before]
	}
	if o.NoUDP || refused != nil && o.Mode == EBPF {
		return refused
	}
	before = len(c.coverage.parts)
	if c.udp, err = openUDP(o, s); err != nil {
		c.udp = nil
		c.coverage.parts = c.coverage.parts[:before]
		c.coverage.add(PartUDP, "", err)
	}
	return refused
}

// Source is how the Counter counts TCP.
func (c *Counter) Source() record.Source { return c.kind }

// Coverage is how each Part that was asked for is counted, and what is lost where the kernel refused better.
func (c *Counter) Coverage() []Coverage { return c.coverage.parts }

// Tally returns what was counted since the last Tally or since Open, one record a flow, in no
// particular order. A flow that did nothing has no record. After an error the next Tally returns
// what this one could not.
func (c *Counter) Tally(ctx context.Context) ([]record.Flow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return nil, errClosed
	}
	rows, err := c.tcp.rows(ctx)
	if err != nil {
		return nil, fmt.Errorf("tally flows: %w", err)
	}
	c.waiting = append(c.waiting, rows...)
	var datagrams []row
	if c.udp != nil {
		if c.udp.dns != nil {
			// For the names of servers. What is wrong with DNS is for TallyDNS to say.
			_ = c.udp.dns.catchUp(ctx)
		}
		if datagrams, err = c.udp.turns.take(); err != nil {
			return nil, fmt.Errorf("tally UDP flows: %w", err)
		}
	}
	c.shared.catchUp(ctx)
	records := c.merger.merge(c.waiting)
	c.waiting = nil
	records = append(records, c.udpMerger.merge(datagrams)...)
	if c.udp != nil && c.udp.dns != nil {
		c.udp.dns.nameServers(records)
	}
	return records, nil
}

// Losses returns what could not be counted since Open.
func (c *Counter) Losses() (Losses, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return Losses{}, errClosed
	}
	losses, err := c.tcp.losses()
	if err != nil || c.udp == nil {
		return losses, err
	}
	udp, err := countLosses(c.udp.Maps[bpf.UdpMapLosses])
	if err != nil {
		return Losses{}, err
	}
	losses.StorageRefused += udp.StorageRefused
	losses.TableFull += udp.TableFull
	losses.Uncounted += udp.Uncounted
	losses.ProcessesMissed += udp.ProcessesMissed
	losses.DNSDropped = udp.DNSDropped
	if c.udp.dns != nil {
		d := c.udp.dns.losses()
		losses.DNSMalformed, losses.DNSUnmatched, losses.DNSUntracked = d.Malformed, d.Unmatched, d.Untracked
	}
	return losses, nil
}

// Close ends the counting and gives back all that the Counter held in the kernel. What was counted
// since the last Tally is dropped. A second Close does nothing.
func (c *Counter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return nil
	}
	return c.release()
}

func (c *Counter) release() error {
	var errs []error
	if c.udp != nil {
		errs = append(errs, c.udp.close())
		c.udp = nil
	}
	if c.tcp != nil {
		errs = append(errs, c.tcp.close())
		c.tcp = nil
	}
	if c.shared != nil {
		errs = append(errs, c.shared.close())
		c.shared = nil
	}
	return errors.Join(errs...)
}
