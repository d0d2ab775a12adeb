package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/end"
	"socktally/record"
)

// minHandshakes is how many handshakes within the host are remembered at least. If that of a server's client was
// forgotten, the server is counted as a flow of its own.
const minHandshakes = 8192

// StateChanges are the programs that see a connection begin and end. TCP is counted by all of them or by none.
var StateChanges = []string{bpf.FlowsProgSocketOpened, bpf.FlowsProgSocketChanged, bpf.FlowsProgSocketChangedAgain}

// TCP counts TCP by the programs of package bpf.
type TCP struct {
	tracer *Tracer
	tables tables
	walker walker
	// attached are the links. They are closed before the maps.
	attached []io.Closer
}

// OpenTCP starts to count TCP.
func (s *Tracer) OpenTCP() (*TCP, error) {
	t := &TCP{tracer: s}
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *TCP) open() error {
	for _, name := range StateChanges {
		if _, err := t.tracer.load(name); err != nil {
			return err
		}
	}
	if err := t.tables.open(t.tracer.Maps[bpf.FlowsMapFlows], t.tracer.spec.Maps[bpf.FlowsMapFlows].InnerMap); err != nil {
		return err
	}
	for _, name := range StateChanges {
		l, err := link.AttachTracing(link.TracingOptions{Program: t.tracer.Programs[name]})
		if err != nil {
			return err
		}
		t.attached = append(t.attached, l)
	}
	t.tracer.addCoverage(coverage.TCP, coverage.ByStateChanges)
	if err := t.seed(); err != nil {
		return err
	}
	t.openWalker()
	t.tables.known = t.known()
	return nil
}

// Flows walks over the open sockets and returns all counts since the last call, each flow once.
func (t *TCP) Flows(ctx context.Context) ([]end.Flow, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := t.Walk(); err != nil {
		return nil, err
	}
	return t.tables.take()
}

// Walk adds to the table of flows what each open socket did since the last walk.
func (t *TCP) Walk() error {
	if err := t.walker.walk(); err != nil {
		return fmt.Errorf("walk sockets: %w", err)
	}
	return nil
}

// MapBytes is the kernel memory of the maps, without the storage of sockets.
func (t *TCP) MapBytes() (sum uint64, err error) {
	maps := slices.Clone(t.tables.pair[:])
	for name, m := range t.tracer.Maps {
		if !strings.HasPrefix(name, ".") && name != bpf.FlowsMapSockets {
			maps = append(maps, m)
		}
	}
	for _, m := range maps {
		info, err := m.Info()
		if err != nil {
			return 0, err
		}
		bytes, _ := info.Memlock()
		sum += bytes
	}
	return sum, nil
}

// runIter runs the program of an iterator over all its objects. The program prints nothing, so there is nothing to read
// but the end. EAGAIN means that the kernel needs a pause.
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

// Losses returns what could not be counted since the start.
func (t *TCP) Losses() (coverage.Losses, error) {
	return countLosses(t.tracer.Maps[bpf.FlowsMapLosses])
}

// known are the optional counters that this kernel has.
func (t *TCP) known() record.Known {
	var countsRTOs uint32
	if err := t.tracer.Variables[bpf.FlowsVarCountsRtos].Get(&countsRTOs); err != nil || countsRTOs == 0 {
		return 0
	}
	return record.KnowsRTOCount | record.KnowsRecoveryCount
}

// Close ends the counting.
func (t *TCP) Close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.Close())
	}
	if t.walker != nil {
		errs = append(errs, t.walker.close())
	}
	errs = append(errs, t.tables.close())
	return errors.Join(errs...)
}
