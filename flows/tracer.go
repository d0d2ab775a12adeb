package flows

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/bpf"
)

// minHandshakes is how many connections within the host may be about to be established at once. A
// server whose client has been forgotten looks like one whose client is elsewhere, and is counted
// as a flow of its own.
const minHandshakes = 8192

// stateChanges are the programs that see a connection begin and end. TCP is counted by all or by none.
var stateChanges = []string{bpf.FlowsProgSocketOpened, bpf.FlowsProgSocketChanged, bpf.FlowsProgSocketChangedAgain}

// tcpTracer counts TCP by the programs of package bpf.
type tcpTracer struct {
	shared *shared
	turns  turns
	walker walker
	// attached are the links that must go before the maps do.
	attached []io.Closer
}

func openTCP(o Options, s *shared) (*tcpTracer, error) {
	t := &tcpTracer{shared: s}
	if err := t.open(o); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tcpTracer) open(o Options) error {
	for _, name := range stateChanges {
		if _, err := t.shared.load(name); err != nil {
			return err
		}
	}
	if err := t.turns.open(t.shared.Maps[bpf.FlowsMapFlows], t.shared.spec.Maps[bpf.FlowsMapFlows].InnerMap); err != nil {
		return err
	}
	for _, name := range stateChanges {
		l, err := link.AttachTracing(link.TracingOptions{Program: t.shared.Programs[name]})
		if err != nil {
			return err
		}
		t.attached = append(t.attached, l)
	}
	t.shared.cover(PartTCP, byStateChanges)
	if err := t.seed(o); err != nil {
		return err
	}
	t.openWalker(o)
	return nil
}

// rows walks the live sockets, so that the table holds all that was done, and empties it.
func (t *tcpTracer) rows(ctx context.Context) ([]row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := t.walker.walk(); err != nil {
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

func (t *tcpTracer) losses() (Losses, error) { return countLosses(t.shared.Maps[bpf.FlowsMapLosses]) }

func (t *tcpTracer) countsRTOs() bool {
	var yes uint32
	return t.shared.Variables[bpf.FlowsVarCountsRtos].Get(&yes) == nil && yes != 0
}

func (t *tcpTracer) close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.Close())
	}
	if t.walker != nil {
		errs = append(errs, t.walker.close())
	}
	errs = append(errs, t.turns.close())
	return errors.Join(errs...)
}
