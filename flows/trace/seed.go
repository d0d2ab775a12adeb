package trace

import (
	"fmt"

	"github.com/cilium/ebpf/link"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/process"
)

// seed gives storage to the sockets that are older than the programs, with the counts so far as the
// baseline. The file walk finds those that a process holds, in every namespace, with their owner;
// the TCP walk finds the rest of one namespace, and is run in each that the caller may enter. Where
// the kernel refuses either, each socket that sock_diag tells of is visited, with the owner that /proc tells.
func (t *TCP) seed() error {
	o := t.tracer.options
	files, noFiles := t.iterate(bpf.FlowsProgSeedFiles, link.IterOptions{})
	if noFiles == nil {
		defer files.Close()
	}
	tcp, noTCP := t.iterate(bpf.FlowsProgSeedTcp, link.IterOptions{})
	if noTCP == nil {
		defer tcp.Close()
	}
	seeding := t.tracer.Variables[bpf.FlowsVarSeeding]
	var v *visits
	var noVisits error
	if noFiles != nil || noTCP != nil {
		v, noVisits = t.openVisits()
	}
	t.tracer.addCoverage(coverage.TCPOlder, seededBy(files != nil, tcp != nil, v != nil), noFiles, noTCP, noVisits)

	owners := process.NewSocketOwners(o.Proc)
	ownerOf := func(inode uint32) process.Ref {
		owner := owners.Of(inode)
		t.tracer.table.Describe(owner) // while it is there
		return owner
	}
	// Which end of an old connection is the server is told by who listens, and whether the other
	// end is here by having seen the client: so, one after the other.
	for pass := bpf.FlowsSeedPassSEED_LISTENERS; pass < bpf.FlowsSeedPassSEED_DONE; pass++ {
		if err := seeding.Set(pass); err != nil {
			return err
		}
		if files != nil {
			if err := runIter(files); err != nil {
				return fmt.Errorf("walk open files: %w", err)
			}
		}
		if v != nil {
			if err := v.all(ownerOf); err != nil {
				return err
			}
		}
		if tcp == nil {
			continue
		}
		if err := runIter(tcp); err != nil {
			return fmt.Errorf("walk TCP sockets: %w", err)
		}
		if !o.OnlyCurrentNetns {
			// A namespace that cannot be entered has been seen through its processes' files.
			process.EachOtherNetns(o.Proc, func(uint32) error { return runIter(tcp) })
		}
	}
	return seeding.Set(bpf.FlowsSeedPassSEED_DONE)
}

func seededBy(files, tcp, visits bool) string {
	by := ""
	if files {
		by = coverage.ByFiles
	}
	if visits {
		by = coverage.Join(by, coverage.BySockDiag)
	}
	if tcp {
		by = coverage.Join(by, coverage.ByTCPTable)
	}
	return by
}
