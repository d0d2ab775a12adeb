package flows

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/bpf"
)

// minHandshakes is how many connections within the host may be about to be established at once. A
// server whose client has been forgotten looks like one whose client is elsewhere, and is counted
// as a flow of its own.
const minHandshakes = 8192

// tracer counts by the programs of package bpf.
type tracer struct {
	objects bpf.FlowsObjects
	turns   turns
	walk    *link.Iter
	// processes brings what the programs tell of processes to the describer.
	processes *ring
	// attached are the links that must go before the maps do.
	attached []io.Closer
}

func openTracer(o Options, d *describer) (source, Source, error) {
	t := &tracer{}
	if err := t.open(o, d); err != nil {
		return nil, "", errors.Join(err, t.close())
	}
	return t, FromEBPF, nil
}

func (t *tracer) open(o Options, d *describer) error {
	spec, err := bpf.LoadFlows()
	if err != nil {
		return err
	}
	sizeTables(spec.Maps[bpf.FlowsMapFlows], o.MaxFlows)
	spec.Maps[bpf.FlowsMapHandshakes].MaxEntries = uint32(max(o.MaxFlows, minHandshakes))
	if err := setScope(spec.Variables[bpf.FlowsVarOnlyNetns], o); err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&t.objects, nil); err != nil {
		return err
	}
	if err := t.turns.open(t.objects.Flows, spec.Maps[bpf.FlowsMapFlows].InnerMap); err != nil {
		return err
	}
	// Before any process is met: those that are met through their open files are read in /proc.
	if t.processes, err = newRing(t.objects.Processes, d.introduce); err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	return t.attach(o)
}

// setScope tells the programs of which namespace alone the sockets are counted, if of one.
func setScope(onlyNetns *ebpf.VariableSpec, o Options) error {
	if o.Scope != NetNS {
		return nil
	}
	own, err := netnsID(ownNetns(o.Proc))
	if err != nil {
		return err
	}
	return onlyNetns.Set(own)
}

func (t *tracer) attach(o Options) error {
	for _, p := range []*ebpf.Program{t.objects.SocketOpened, t.objects.SocketChanged, t.objects.SocketChangedAgain} {
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

// rows walks the live sockets, so that the table holds all that was done, and empties it.
func (t *tracer) rows(ctx context.Context) ([]row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := runIter(t.walk); err != nil {
		return nil, fmt.Errorf("walk sockets: %w", err)
	}
	return t.turns.take()
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

func (t *tracer) losses() (Losses, error) { return countLosses(t.objects.Losses) }

func (t *tracer) countsRTOs() bool {
	var yes uint32
	return t.objects.CountsRtos.Get(&yes) == nil && yes != 0
}

// meetProcesses returns when the describer has all that the programs have told of. What is wrong with
// that only takes names away.
func (t *tracer) meetProcesses(ctx context.Context) { _ = t.processes.catchUp(ctx) }

// sharedMaps are those by which programs tell of processes, and which owners sockets have.
func (t *tracer) sharedMaps() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		bpf.FlowsMapProcesses:      t.objects.Processes,
		bpf.FlowsMapKnownProcesses: t.objects.KnownProcesses,
		bpf.FlowsMapSockets:        t.objects.Sockets,
	}
}

func (t *tracer) close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.Close())
	}
	if t.walk != nil {
		errs = append(errs, t.walk.Close())
	}
	if t.processes != nil {
		errs = append(errs, t.processes.close())
	}
	errs = append(errs, t.turns.close(), t.objects.Close())
	return errors.Join(errs...)
}
