package flows

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/bpf"
)

// batchSize is how many rows one system call brings.
const batchSize = 2048

// minHandshakes is how many connections within the host may be about to be established at once. A
// server whose client has been forgotten looks like one whose client is elsewhere, and is counted
// as a flow of its own.
const minHandshakes = 8192

// tracer counts by the programs of package bpf.
type tracer struct {
	objects bpf.FlowsObjects
	// tables take turns: objects.Flows holds one of them, which the programs fill.
	tables [2]*ebpf.Map
	filled int
	walk   *link.Iter
	// attached are the links that must go before the maps do.
	attached []io.Closer
	batch    struct {
		keys  []bpf.FlowsFlowKey
		flows []bpf.FlowsFlow
	}
	// drained is what has been taken out of a table and not delivered yet.
	drained []row
}

func openTracer(o Options) (source, Source, error) {
	t := &tracer{}
	if err := t.open(o); err != nil {
		return nil, "", errors.Join(err, t.close())
	}
	return t, FromEBPF, nil
}

func (t *tracer) open(o Options) error {
	spec, err := bpf.LoadFlows()
	if err != nil {
		return err
	}
	table := spec.Maps[bpf.FlowsMapFlows].InnerMap
	table.MaxEntries = uint32(o.MaxFlows + len(overflowKeys()))
	spec.Maps[bpf.FlowsMapHandshakes].MaxEntries = uint32(max(o.MaxFlows, minHandshakes))
	if o.Scope == NetNS {
		own, err := netnsID(ownNetns(o.Proc))
		if err != nil {
			return err
		}
		if err := spec.Variables[bpf.FlowsVarOnlyNetns].Set(own); err != nil {
			return err
		}
	}
	if err := spec.LoadAndAssign(&t.objects, nil); err != nil {
		return err
	}
	for i := range t.tables {
		if t.tables[i], err = ebpf.NewMap(table); err != nil {
			return err
		}
		if err := fillOverflow(t.tables[i]); err != nil {
			return err
		}
	}
	if err := t.objects.Flows.Put(uint32(0), t.tables[0]); err != nil {
		return err
	}
	t.batch.keys = make([]bpf.FlowsFlowKey, batchSize)
	t.batch.flows = make([]bpf.FlowsFlow, batchSize)
	return t.attach(o)
}

func (t *tracer) attach(o Options) error {
	for _, p := range []*ebpf.Program{t.objects.SocketOpened, t.objects.SocketChanged} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return err
		}
		t.attached = append(t.attached, l)
	}
	if err := t.seed(o); err != nil {
		return err
	}
	var err error
	t.walk, err = link.AttachIter(link.IterOptions{Program: t.objects.Walk, Map: t.objects.Sockets})
	return err
}

// rows walks the live sockets, lets the programs fill the other table, and empties this one.
func (t *tracer) rows(ctx context.Context) ([]row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := runIter(t.walk); err != nil {
		return nil, fmt.Errorf("walk sockets: %w", err)
	}
	full := t.tables[t.filled]
	// The kernel returns from this when no program uses the full table any more.
	if err := t.objects.Flows.Put(uint32(0), t.tables[1-t.filled]); err != nil {
		return nil, fmt.Errorf("exchange flow tables: %w", err)
	}
	t.filled = 1 - t.filled
	if err := t.drain(full); err != nil {
		return nil, fmt.Errorf("read flow table: %w", err)
	}
	if err := fillOverflow(full); err != nil {
		return nil, err
	}
	rows := t.drained
	t.drained = nil
	return rows, nil
}

func (t *tracer) drain(table *ebpf.Map) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := table.BatchLookupAndDelete(&cursor, t.batch.keys, t.batch.flows, nil)
		for i := range n {
			t.drained = append(t.drained, row{t.batch.keys[i], t.batch.flows[i]})
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func fillOverflow(table *ebpf.Map) error {
	for _, k := range overflowKeys() {
		if err := table.Put(k, bpf.FlowsFlow{}); err != nil {
			return fmt.Errorf("fill flow table: %w", err)
		}
	}
	return nil
}

// runIter runs an iterator's program over everything there is. It prints nothing; what is read is
// only the end. EAGAIN says that the kernel wants a pause.
func runIter(iter *link.Iter) error {
	reader, err := iter.Open()
	if err != nil {
		return err
	}
	defer reader.Close()
	var page [64]byte
	for {
		_, err := reader.Read(page[:])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return err
		}
	}
}

func (t *tracer) losses() (Losses, error) {
	var counts [bpf.FlowsLossLOSS_KINDS]uint64
	for kind := range counts {
		var perCPU []uint64
		if err := t.objects.Losses.Lookup(uint32(kind), &perCPU); err != nil {
			return Losses{}, fmt.Errorf("read losses: %w", err)
		}
		for _, n := range perCPU {
			counts[kind] += n
		}
	}
	// An event that the opening program did not see is one that it would have passed over.
	stats, err := t.objects.SocketChanged.Stats()
	if err != nil {
		return Losses{}, fmt.Errorf("read losses: %w", err)
	}
	return Losses{
		StorageRefused: counts[bpf.FlowsLossLOSS_STORAGE],
		TableFull:      counts[bpf.FlowsLossLOSS_TABLE_FULL],
		Untracked:      counts[bpf.FlowsLossLOSS_UNTRACKED],
		Uncounted:      counts[bpf.FlowsLossLOSS_UNCOUNTED],
		Missed:         stats.RecursionMisses,
	}, nil
}

func (t *tracer) countsRTOs() bool {
	var yes uint32
	return t.objects.CountsRtos.Get(&yes) == nil && yes != 0
}

// cgroupName is the last part of a control group's path, "" where it is not known.
func (t *tracer) cgroupName(id uint64) string {
	var name bpf.FlowsCgroupName
	if err := t.objects.CgroupNames.Lookup(id, &name); err != nil {
		return ""
	}
	text, _, _ := bytes.Cut(name.Name[:], []byte{0})
	return string(text)
}

func (t *tracer) close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.Close())
	}
	if t.walk != nil {
		errs = append(errs, t.walk.Close())
	}
	for _, table := range t.tables {
		if table != nil {
			errs = append(errs, table.Close())
		}
	}
	return errors.Join(append(errs, t.objects.Close())...)
}
