package trace

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/end"
	"socktally/record"
)

// batchSize is how many flows one system call reads.
const batchSize = 2048

// tables are the double buffer of flows: the programs fill one table while user space empties the other.
type tables struct {
	// known are the counters that this kernel has and others lack.
	known record.Known
	// slot is a map of one element: the table that the programs fill.
	slot   *ebpf.Map
	pair   [2]*ebpf.Map
	active int
	batch  struct {
		keys  []bpf.FlowsFlowKey
		flows []bpf.FlowsFlow
	}
	// undelivered are flows that were read from a table but not returned yet.
	undelivered []end.Flow
}

// sizeTables sets the size of the tables for maxFlows.
func sizeTables(slot *ebpf.MapSpec, maxFlows int) {
	slot.InnerMap.MaxEntries = uint32(maxFlows + len(overflowKeys()))
}

// open makes the two tables and puts one of them into the slot.
func (t *tables) open(slot *ebpf.Map, table *ebpf.MapSpec) error {
	t.slot = slot
	for i := range t.pair {
		var err error
		if t.pair[i], err = ebpf.NewMap(table); err != nil {
			return err
		}
		if err := fillOverflow(t.pair[i]); err != nil {
			return err
		}
	}
	t.batch.keys = make([]bpf.FlowsFlowKey, batchSize)
	t.batch.flows = make([]bpf.FlowsFlow, batchSize)
	return slot.Put(uint32(0), t.pair[0])
}

// take exchanges the tables and returns the flows in the full one. If it fails, the next call returns these flows too.
func (t *tables) take() ([]end.Flow, error) {
	full := t.pair[t.active]
	// This returns when no program uses the full table any more.
	if err := t.slot.Put(uint32(0), t.pair[1-t.active]); err != nil {
		return nil, fmt.Errorf("exchange flow tables: %w", err)
	}
	t.active = 1 - t.active
	if err := t.drain(full); err != nil {
		return nil, fmt.Errorf("read flow table: %w", err)
	}
	if err := fillOverflow(full); err != nil {
		return nil, err
	}
	flows := t.undelivered
	t.undelivered = nil
	return flows, nil
}

func (t *tables) drain(table *ebpf.Map) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := table.BatchLookupAndDelete(&cursor, t.batch.keys, t.batch.flows, nil)
		for i := range n {
			t.undelivered = append(t.undelivered, flowOf(&t.batch.keys[i], &t.batch.flows[i], t.known))
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tables) close() error {
	var errs []error
	for _, table := range t.pair {
		if table != nil {
			errs = append(errs, table.Close())
		}
	}
	return errors.Join(errs...)
}

func fillOverflow(table *ebpf.Map) error {
	for _, k := range overflowKeys() {
		if err := table.Put(k, bpf.FlowsFlow{}); err != nil {
			return fmt.Errorf("fill flow table: %w", err)
		}
	}
	return nil
}

// countLosses sums the losses of all CPUs.
func countLosses(m *ebpf.Map) (coverage.Losses, error) {
	var counts [bpf.FlowsLossLOSS_KINDS]uint64
	for kind := range counts {
		var perCPU []uint64
		if err := m.Lookup(uint32(kind), &perCPU); err != nil {
			return coverage.Losses{}, fmt.Errorf("read losses: %w", err)
		}
		for _, n := range perCPU {
			counts[kind] += n
		}
	}
	return coverage.Losses{
		StorageRefused:  counts[bpf.FlowsLossLOSS_STORAGE],
		TableFull:       counts[bpf.FlowsLossLOSS_TABLE_FULL],
		Untracked:       counts[bpf.FlowsLossLOSS_UNTRACKED],
		Uncounted:       counts[bpf.FlowsLossLOSS_UNCOUNTED],
		Unowned:         counts[bpf.FlowsLossLOSS_UNOWNED],
		ProcessesMissed: counts[bpf.FlowsLossLOSS_PROCESS],
		DNSDropped:      counts[bpf.FlowsLossLOSS_DNS],
	}, nil
}
