package trace

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/process"
)

// walker visits the open TCP sockets. A walk adds to the table of flows what each did since the last walk.
type walker interface {
	walk() error
	close() error
}

// openWalker chooses the cheapest walk that the kernel allows.
func (t *TCP) openWalker() {
	storage, err := t.tracer.iterate(bpf.FlowsProgWalkStorage, link.IterOptions{Map: t.tracer.Maps[bpf.FlowsMapSockets]})
	if err == nil {
		t.walker = storageWalk{storage}
		t.tracer.addCoverage(coverage.TCPOpen, coverage.ByStorage)
		return
	}
	errs := []error{err}
	w := &tableWalk{number: t.numbered(), seenOtherNetns: t.tracer.Variables[bpf.FlowsVarSeenOtherNetns], proc: t.tracer.options.Proc, currentNetns: t.tracer.currentNetns}
	by := ""
	if w.tcp, err = t.tracer.iterate(bpf.FlowsProgWalkTcp, link.IterOptions{}); err != nil {
		errs = append(errs, err)
	} else {
		by = coverage.ByTCPTable
	}
	if w.files, err = t.tracer.iterate(bpf.FlowsProgWalkFiles, link.IterOptions{}); err != nil {
		errs = append(errs, err)
	} else {
		by = coverage.Join(by, coverage.ByFiles)
	}
	if by != "" {
		t.walker = w
		t.tracer.addCoverage(coverage.TCPOpen, by, errs...)
		return
	}
	v, err := t.openVisits()
	if err != nil {
		t.walker = noWalk{}
		t.tracer.addCoverage(coverage.TCPOpen, "", append(errs, err)...)
		return
	}
	t.walker = visitWalk{v, t.numbered()}
	t.tracer.addCoverage(coverage.TCPOpen, coverage.BySockDiag, errs...)
}

// storageWalk walks over the storage of sockets. It visits each counted socket once, in all network namespaces.
type storageWalk struct{ iter *link.Iter }

func (w storageWalk) walk() error  { return runIter(w.iter) }
func (w storageWalk) close() error { return w.iter.Close() }

// numbered gives each walk a number. By it the programs recognise a socket that they have visited in this walk already.
func (t *TCP) numbered() func() error {
	number := uint32(0)
	variable := t.tracer.Variables[bpf.FlowsVarWalkNumber]
	return func() error {
		number++
		return variable.Set(number)
	}
}

// tableWalk walks over the kernel's table of TCP sockets in the caller's network namespace. Once a socket of another
// network namespace was seen, it also walks over all open files. If the kernel allows only one of the two, that one is
// used for both.
type tableWalk struct {
	tcp, files     *link.Iter // nil if the kernel does not allow it
	number         func() error
	seenOtherNetns *ebpf.Variable
	proc           string
	currentNetns   uint32 // the network namespace of Open's caller
}

func (w *tableWalk) walk() error {
	if err := w.number(); err != nil {
		return err
	}
	if w.tcp != nil {
		if err := runIter(w.tcp); err != nil {
			return fmt.Errorf("walk TCP sockets: %w", err)
		}
		if only, err := w.onlyCurrentNetns(); only || err != nil {
			return err
		}
	}
	if w.files != nil {
		if err := runIter(w.files); err != nil {
			return fmt.Errorf("walk open files: %w", err)
		}
		return nil
	}
	// Sockets in a namespace that cannot be entered are counted when they close.
	process.EachOtherNetns(w.proc, func(uint32) error { return runIter(w.tcp) })
	return nil
}

// onlyCurrentNetns says whether all counted sockets are in the current network namespace of this thread.
func (w *tableWalk) onlyCurrentNetns() (bool, error) {
	var seenOther uint32
	if err := w.seenOtherNetns.Get(&seenOther); err != nil {
		return false, err
	}
	current, err := process.NetnsID(process.CurrentNetns(w.proc))
	return seenOther == 0 && err == nil && current == w.currentNetns, nil
}

func (w *tableWalk) close() error {
	var errs []error
	for _, iter := range []*link.Iter{w.tcp, w.files} {
		if iter != nil {
			errs = append(errs, iter.Close())
		}
	}
	return errors.Join(errs...)
}

// noWalk does nothing: sockets are counted when they close.
type noWalk struct{}

func (noWalk) walk() error  { return nil }
func (noWalk) close() error { return nil }
