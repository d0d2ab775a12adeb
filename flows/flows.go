package flows

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"socktally/bpf"
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

// DefaultMaxFlows bounds the flows of one interval. The maps for it take 10 MiB of kernel memory.
const DefaultMaxFlows = 16384

// Options are the settings of Open. The zero value counts the whole host in the best way possible.
type Options struct {
	Mode  Mode
	Scope Scope
	// MaxFlows is how many flows an interval may have. What goes beyond is counted in overflow
	// records without addresses, so that sums stay true. 0 is DefaultMaxFlows.
	MaxFlows int
	// Proc is where procfs is mounted, /proc by default. It must show the host's processes for
	// owners to be described in full.
	Proc string
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
	switch {
	case o.Mode != Auto && o.Mode != EBPF && o.Mode != SockDiag:
		return o, fmt.Errorf("flows mode %q: must be auto, ebpf or sockdiag", o.Mode)
	case o.Scope != Host && o.Scope != NetNS:
		return o, fmt.Errorf("flows scope %q: must be host or netns", o.Scope)
	case o.MaxFlows < 1 || o.MaxFlows > 1<<24:
		return o, fmt.Errorf("max flows %d: must be between 1 and %d", o.MaxFlows, 1<<24)
	}
	return o, nil
}

// Losses says what could not be counted, or not under its own flow, since the Counter was opened.
type Losses struct {
	// StorageRefused is how many times the kernel had no memory for a socket's storage.
	StorageRefused uint64
	// TableFull is how many tallies of a socket went to an overflow record. Sums include them.
	TableFull uint64
	// Untracked is how many connections closed of which nothing was known, and so nothing counted:
	// older than the Counter and held by no process and no namespace that it could look into.
	Untracked uint64
	// Missed is how many state changes the kernel did not show, because they happened in an
	// interrupt of the very program that waits for them.
	Missed uint64
	// Uncounted is how many tallies of a socket had no record at all to go to.
	Uncounted uint64
	// Unreadable is how many times a network namespace could not be polled (SockDiag only).
	Unreadable uint64
}

// source delivers what was counted since its last call: rows of any order, each key once.
type source interface {
	rows(ctx context.Context) ([]row, error)
	losses() (Losses, error)
	// countsRTOs says whether the kernel counts retransmission timeouts (from 6.7 on).
	countsRTOs() bool
	// cgroupName is the last part of a control group's path, "" where it is not known.
	cgroupName(id uint64) string
	close() error
}

// row is one flow of one interval as one end saw it.
type row struct {
	key  bpf.FlowsFlowKey
	flow bpf.FlowsFlow
}

// Counter counts flows from Open to Close. Its methods may be called concurrently.
type Counter struct {
	kind    Source
	refusal *Refusal

	mu     sync.Mutex
	source source
	merger *merger
}

var errClosed = errors.New("flow counter is closed")

// Open begins to count. In Auto mode, Source and Refusal of the Counter say what was chosen and
// what stood in the way. In EBPF mode an error that has a *Refusal says the same.
func Open(options Options) (*Counter, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Counter{}
	if o.Mode != SockDiag {
		c.source, c.kind, err = openTracer(o)
		if err == nil {
			return c.start(o), nil
		}
		c.refusal = explain(err, readFacts(o.Proc))
		if o.Mode == EBPF {
			return nil, c.refusal
		}
	}
	c.source, c.kind, err = openDiag(o)
	if err != nil {
		return nil, errors.Join(err, c.Refusal())
	}
	return c.start(o), nil
}

func (c *Counter) start(o Options) *Counter {
	c.merger = newMerger(c.kind, newDescriber(o.Proc, o.MaxFlows, c.source.cgroupName), o.MaxFlows)
	c.merger.countsRTOs = c.source.countsRTOs()
	return c
}

// Source is how the Counter counts.
func (c *Counter) Source() Source { return c.kind }

// Refusal is why the kernel's tracer was not taken, as a *Refusal, or nil where it was taken or not
// asked for.
func (c *Counter) Refusal() error {
	if c.refusal == nil {
		return nil
	}
	return c.refusal
}

// Tally returns what was counted since the last Tally or since Open, one record a flow, in no
// particular order. A flow that did nothing has no record. After an error the next Tally returns
// what this one could not.
func (c *Counter) Tally(ctx context.Context) ([]Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source == nil {
		return nil, errClosed
	}
	rows, err := c.source.rows(ctx)
	if err != nil {
		return nil, fmt.Errorf("tally flows: %w", err)
	}
	return c.merger.merge(rows), nil
}

// Losses returns what could not be counted since Open.
func (c *Counter) Losses() (Losses, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source == nil {
		return Losses{}, errClosed
	}
	return c.source.losses()
}

// Close ends the counting and gives back all that the Counter held in the kernel. What was counted
// since the last Tally is dropped. A second Close does nothing.
func (c *Counter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source == nil {
		return nil
	}
	err := c.source.close()
	c.source = nil
	return err
}
