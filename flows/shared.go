package flows

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"socktally/bpf"
)

// shared is what the programs of TCP and of UDP have in common: the maps of owners, and the ring by which
// they tell of processes. Its object file is TCP's.
type shared struct {
	*objects
	coverage  *coverage
	describer *describer
	own       uint32 // the network namespace of Open's caller; 0 where the kernel has none
	// processes brings what the programs tell of processes to the describer; nil where they cannot.
	processes *ring
}

func openShared(o Options, d *describer, c *coverage) (*shared, error) {
	s := &shared{coverage: c, describer: d}
	if err := s.open(o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *shared) open(o Options) error {
	spec, err := bpf.LoadFlows()
	if err != nil {
		return err
	}
	sizeTables(spec.Maps[bpf.FlowsMapFlows], o.MaxFlows)
	spec.Maps[bpf.FlowsMapHandshakes].MaxEntries = uint32(max(o.MaxFlows, minHandshakes))
	if err := setScope(spec.Variables[bpf.FlowsVarOnlyNetns], o); err != nil {
		return err
	}
	if own, err := netnsID(ownNetns(o.Proc)); err == nil {
		s.own = own
	}
	if err := spec.Variables[bpf.FlowsVarOwnNetns].Set(s.own); err != nil {
		return err
	}
	ring, noRing := makeRing(spec, bpf.FlowsMapProcesses, o.refuse)
	replaced := map[string]*ebpf.Map{}
	if noRing == nil {
		defer ring.Close() // what is loaded has it for itself
		replaced[bpf.FlowsMapProcesses] = ring
	} else if err := withoutProcesses(spec); err != nil {
		return err
	}
	if s.objects, err = loadMaps(spec, replaced, o.refuse); err != nil {
		return err
	}
	if noRing != nil {
		s.cover(PartProcesses, byProc, noRing)
		return nil
	}
	// Before any process is met: those that are met through their open files are read in /proc.
	if s.processes, err = newRing(s.Maps[bpf.FlowsMapProcesses], s.describer.introduce); err != nil {
		return fmt.Errorf("read processes: %w", err)
	}
	s.cover(PartProcesses, byRing)
	return nil
}

// withoutProcesses has the programs of an object file tell nothing of processes.
func withoutProcesses(spec *ebpf.CollectionSpec) error {
	withoutRing(spec, bpf.FlowsMapProcesses)
	return spec.Variables[bpf.FlowsVarTellProcesses].Set(uint8(0))
}

// maps are what other programs share with TCP's.
func (s *shared) maps() map[string]*ebpf.Map {
	shared := make(map[string]*ebpf.Map)
	for _, name := range []string{bpf.FlowsMapProcesses, bpf.FlowsMapKnownProcesses, bpf.FlowsMapSockets} {
		shared[name] = s.Maps[name]
	}
	return shared
}

// catchUp returns when the describer has all that the programs have told of. What is wrong with that only
// takes names away.
func (s *shared) catchUp(ctx context.Context) {
	if s != nil && s.processes != nil {
		_ = s.processes.catchUp(ctx)
	}
}

func (s *shared) cover(part Part, by string, refused ...error) { s.coverage.add(part, by, refused...) }

func (s *shared) close() error {
	if s == nil {
		return nil
	}
	var err error
	if s.processes != nil {
		err = s.processes.close()
	}
	s.objects.close()
	return err
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
