package flows

import (
	"fmt"

	"github.com/cilium/ebpf/link"

	"socktally/bpf"
)

// seed gives storage to the sockets that are older than the programs, with the counts so far as the
// baseline. The file walk finds those that a process holds, in every namespace, with their owner;
// the TCP walk finds the rest of one namespace, and is run in each that the caller may enter. Where
// the kernel refuses either, each socket that sock_diag tells of is visited, with the owner that /proc tells.
func (t *tcpTracer) seed(o Options) error {
	files, noFiles := t.iterate(bpf.FlowsProgSeedFiles, link.IterOptions{})
	if noFiles == nil {
		defer files.Close()
	}
	tcp, noTCP := t.iterate(bpf.FlowsProgSeedTcp, link.IterOptions{})
	if noTCP == nil {
		defer tcp.Close()
	}
	seeding := t.shared.Variables[bpf.FlowsVarSeeding]
	var v *visits
	var noVisits error
	if noFiles != nil || noTCP != nil {
		v, noVisits = t.openVisits(o)
	}
	t.shared.cover(PartTCPOlder, seededBy(files != nil, tcp != nil, v != nil), noFiles, noTCP, noVisits)

	owners := newSocketOwners(o.Proc)
	ownerOf := func(inode uint32) owned {
		owner := owners.of(inode)
		t.shared.describer.describe(owner) // while it is there
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
		if o.Scope == Host {
			// A namespace that cannot be entered has been seen through its processes' files.
			eachOtherNetns(o.Proc, func(uint32) error { return runIter(tcp) })
		}
	}
	return seeding.Set(bpf.FlowsSeedPassSEED_DONE)
}

func seededBy(files, tcp, visits bool) string {
	by := ""
	if files {
		by = byFiles
	}
	if visits {
		by = joinWords(by, bySockDiag)
	}
	if tcp {
		by = joinWords(by, byTCPTable)
	}
	return by
}
