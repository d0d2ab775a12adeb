package trace

import (
	"fmt"
	"socktally/flows/coverage"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// objects are the maps and the loaded programs of one object file of package bpf. Programs are loaded one by one,
// because the kernel may refuse some of them.
type objects struct {
	*ebpf.Collection
	spec   *ebpf.CollectionSpec
	types  *btf.Cache
	faults LoadFaults
}

// LoadFaults are errors by the name of a program or a map, for tests: its load fails with that error.
type LoadFaults map[string]error

// loadMaps makes the maps of an object file. Maps in shared, by name, are used instead of new ones.
func loadMaps(spec *ebpf.CollectionSpec, shared map[string]*ebpf.Map, faults LoadFaults) (*objects, error) {
	o := &objects{spec: spec, types: btf.NewCache(), faults: faults}
	var err error
	if o.Collection, err = o.collect(nil, shared); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *objects) collect(programs map[string]*ebpf.ProgramSpec, maps map[string]*ebpf.Map) (*ebpf.Collection, error) {
	spec := *o.spec
	spec.Programs = programs
	return ebpf.NewCollectionWithOptions(&spec, ebpf.CollectionOptions{MapReplacements: maps, Cache: o.types})
}

// load loads a program. The error is a *coverage.ObjectError.
func (o *objects) load(name string) (*ebpf.Program, error) {
	if p := o.Programs[name]; p != nil {
		return p, nil
	}
	spec := o.spec.Programs[name]
	loaded, err := o.collect(map[string]*ebpf.ProgramSpec{name: spec}, o.Maps)
	if fault := o.faults[name]; fault != nil && err == nil {
		loaded.Close()
		err = fault
	}
	if err != nil {
		return nil, &coverage.ObjectError{Name: name, Kind: spec.SectionName, Err: err}
	}
	defer loaded.Close()
	o.Programs[name] = loaded.DetachProgram(name)
	return o.Programs[name], nil
}

// iterate loads the program of an iterator and attaches it.
func (o *objects) iterate(name string, options link.IterOptions) (*link.Iter, error) {
	program, err := o.load(name)
	if err != nil {
		return nil, err
	}
	options.Program = program
	iter, err := link.AttachIter(options)
	if err != nil {
		return nil, &coverage.ObjectError{Name: name, Kind: o.spec.Programs[name].SectionName, Err: err}
	}
	return iter, nil
}

// set sets a global variable of the programs.
func (o *objects) set(variable string, value any) error {
	if err := o.Variables[variable].Set(value); err != nil {
		return fmt.Errorf("set %s: %w", variable, err)
	}
	return nil
}

func (o *objects) close() {
	if o != nil && o.Collection != nil {
		o.Collection.Close()
	}
}

// makeRing makes a ring buffer of an object file. The error is a *coverage.ObjectError.
func makeRing(spec *ebpf.CollectionSpec, name string, faults LoadFaults) (*ebpf.Map, error) {
	ring, err := ebpf.NewMap(spec.Maps[name])
	if fault := faults[name]; fault != nil && err == nil {
		ring.Close()
		err = fault
	}
	if err != nil {
		return nil, &coverage.ObjectError{Name: name, Kind: "ring buffer", Err: err}
	}
	return ring, nil
}

// withoutRing replaces a ring buffer by a small array. A setting must keep the programs from using it.
func withoutRing(spec *ebpf.CollectionSpec, name string) {
	spec.Maps[name] = &ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
}
