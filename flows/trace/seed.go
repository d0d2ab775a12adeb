package trace

import (
	"fmt"

	"github.com/cilium/ebpf/link"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/process"
)

// seed gives storage to the sockets that are older than the programs. Their counters so far become the baseline.
//
// One iterator walks over the open files of all processes, in all network namespaces, and finds the owners. Another one
// walks over all TCP sockets of one network namespace; it runs in each namespace that the caller may enter. If the
// kernel does not allow one of them, all sockets that sock_diag lists are visited, with the owners from /proc.
func (t *TCP) seed() error {
	o := t.tracer.options
	files, filesErr := t.tracer.iterate(bpf.FlowsProgSeedFiles, link.IterOptions{})
	if filesErr == nil {
		defer files.Close()
	}
	tcp, tcpErr := t.tracer.iterate(bpf.FlowsProgSeedTcp, link.IterOptions{})
	if tcpErr == nil {
		defer tcp.Close()
	}
	seeding := t.tracer.Variables[bpf.FlowsVarSeeding]
	var v *visits
	var visitErr error
	if filesErr != nil || tcpErr != nil {
		v, visitErr = t.openVisits()
	}
	t.tracer.addCoverage(coverage.TCPOlder, seededBy(files != nil, tcp != nil, v != nil), filesErr, tcpErr, visitErr)

	owners := process.NewSocketOwners(o.Proc)
	ownerOf := func(inode uint32) process.Ref {
		owner := owners.Of(inode)
		t.tracer.table.Describe(owner) // reads and remembers its environment while it runs
		return owner
	}
	// There are three passes: listeners show which end of a connection is the server, and clients show which servers
	// have a peer on this host.
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
			// If a namespace cannot be entered, the walk over files has found most of its sockets.
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
