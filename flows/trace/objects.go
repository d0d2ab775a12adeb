package trace

import (
	"fmt"
	"socktally/flows/coverage"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// objects are what one object file of package bpf has in the kernel: all of its maps, and those of its
// programs that were asked for. Programs are loaded one by one, so that the kernel can refuse one alone.
type objects struct {
	*ebpf.Collection
	spec   *ebpf.CollectionSpec
	types  *btf.Cache
	faults LoadFaults
}

// Refuser stands in for a kernel that refuses a program, or a map, of that name. A nil one refuses nothing.
type LoadFaults map[string]error

// loadMaps makes the maps of an object file. shared are maps of another one's, by name, which take the place
// of its own.
func loadMaps(spec *ebpf.CollectionSpec, shared map[string]*ebpf.Map, refuse LoadFaults) (*objects, error) {
	o := &objects{spec: spec, types: btf.NewCache(), faults: refuse}
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

// load loads a program, or says which one was refused, and by what answer.
func (o *objects) load(name string) (*ebpf.Program, error) {
	if p := o.Programs[name]; p != nil {
		return p, nil
	}
	spec := o.spec.Programs[name]
	loaded, err := o.collect(map[string]*ebpf.ProgramSpec{name: spec}, o.Maps)
	if refused := o.faults[name]; refused != nil && err == nil {
		loaded.Close()
		err = refused
	}
	if err != nil {
		return nil, &coverage.ObjectError{Name: name, Kind: spec.SectionName, Err: err}
	}
	defer loaded.Close()
	o.Programs[name] = loaded.DetachProgram(name)
	return o.Programs[name], nil
}

// set gives a global variable of the programs its value.
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

// makeRing makes a ring buffer of an object file, or says why the kernel has none.
func makeRing(spec *ebpf.CollectionSpec, name string, refuse LoadFaults) (*ebpf.Map, error) {
	ring, err := ebpf.NewMap(spec.Maps[name])
	if refused := refuse[name]; refused != nil && err == nil {
		ring.Close()
		err = refused
	}
	if err != nil {
		return nil, &coverage.ObjectError{Name: name, Kind: "ring buffer", Err: err}
	}
	return ring, nil
}

// withoutRing puts a small map in the place of a ring buffer. The programs must be told not to use it.
func withoutRing(spec *ebpf.CollectionSpec, name string) {
	spec.Maps[name] = &ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
}
