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

// walker visits the live TCP sockets: a walk adds to the table of flows what each did since the last one.
type walker interface {
	walk() error
	close() error
}

// openWalker takes the cheapest way to the live sockets that the kernel allows.
func (t *TCP) openWalker() {
	storage, err := t.iterate(bpf.FlowsProgWalkStorage, link.IterOptions{Map: t.tracer.Maps[bpf.FlowsMapSockets]})
	if err == nil {
		t.walker = storageWalk{storage}
		t.tracer.addCoverage(coverage.TCPOpen, coverage.ByStorage)
		return
	}
	refused := []error{err}
	w := &tableWalk{number: t.numbered(), seenElsewhere: t.tracer.Variables[bpf.FlowsVarSeenOtherNetns], proc: t.tracer.options.Proc, currentNetns: t.tracer.currentNetns}
	by := ""
	if w.tcp, err = t.iterate(bpf.FlowsProgWalkTcp, link.IterOptions{}); err != nil {
		refused = append(refused, err)
	} else {
		by = coverage.ByTCPTable
	}
	if w.files, err = t.iterate(bpf.FlowsProgWalkFiles, link.IterOptions{}); err != nil {
		refused = append(refused, err)
	} else {
		by = coverage.Join(by, coverage.ByFiles)
	}
	if by != "" {
		t.walker = w
		t.tracer.addCoverage(coverage.TCPOpen, by, refused...)
		return
	}
	v, err := t.openVisits()
	if err != nil {
		t.walker = noWalk{}
		t.tracer.addCoverage(coverage.TCPOpen, "", append(refused, err)...)
		return
	}
	t.walker = visitWalk{v, t.numbered()}
	t.tracer.addCoverage(coverage.TCPOpen, coverage.BySockDiag, refused...)
}

// iterate loads an iterator's program and makes it ready to run.
func (t *TCP) iterate(name string, o link.IterOptions) (*link.Iter, error) {
	program, err := t.tracer.load(name)
	if err != nil {
		return nil, err
	}
	o.Program = program
	iter, err := link.AttachIter(o)
	if err != nil {
		return nil, &coverage.ObjectError{Name: name, Kind: t.tracer.spec.Programs[name].SectionName, Err: err}
	}
	return iter, nil
}

// storageWalk goes over the storage of sockets, and so over just those that are counted, each once, in
// every network namespace.
type storageWalk struct{ iter *link.Iter }

func (w storageWalk) walk() error  { return runIter(w.iter) }
func (w storageWalk) close() error { return w.iter.Close() }

// numbered gives each walk its number, by which the programs know a socket that they meet again.
func (t *TCP) numbered() func() error {
	number := uint32(0)
	variable := t.tracer.Variables[bpf.FlowsVarWalkNumber]
	return func() error {
		number++
		return variable.Set(number)
	}
}

// tableWalk goes over TCP's own table of the caller's network namespace and, once a socket of another one has
// been seen, over all open files. Where the kernel refuses the one, the other does for both.
type tableWalk struct {
	tcp, files    *link.Iter // nil where refused
	number        func() error
	seenElsewhere *ebpf.Variable
	proc          string
	currentNetns  uint32 // the network namespace of Open's caller
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
	// What a namespace does that cannot be entered is counted when its sockets close.
	process.EachOtherNetns(w.proc, func(uint32) error { return runIter(w.tcp) })
	return nil
}

// onlyOwn says whether all sockets that are counted are of the namespace that this thread is in.
func (w *tableWalk) onlyCurrentNetns() (bool, error) {
	var elsewhere uint32
	if err := w.seenElsewhere.Get(&elsewhere); err != nil {
		return false, err
	}
	own, err := process.NetnsID(process.CurrentNetns(w.proc))
	return elsewhere == 0 && err == nil && own == w.currentNetns, nil
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

// noWalk leaves live sockets until they close.
type noWalk struct{}

func (noWalk) walk() error  { return nil }
func (noWalk) close() error { return nil }
