package flows

import (
	"fmt"

	"github.com/cilium/ebpf/link"

	"socktally/bpf"
)

// seed gives storage to the sockets that are older than the programs, with the counts so far as the
// baseline. The file walk finds those that a process holds, in every namespace, with their owner;
// the TCP walk finds the rest of one namespace, and is run in each that the caller may enter.
func (t *tracer) seed(o Options) error {
	files, err := link.AttachIter(link.IterOptions{Program: t.objects.SeedFiles})
	if err != nil {
		return err
	}
	defer files.Close()
	tcp, err := link.AttachIter(link.IterOptions{Program: t.objects.SeedTcp})
	if err != nil {
		return err
	}
	defer tcp.Close()

	// Which end of an old connection is the server is told by who listens, and whether the other
	// end is here by having seen the client: so, one after the other.
	for pass := bpf.FlowsSeedPassSEED_LISTENERS; pass < bpf.FlowsSeedPassSEED_DONE; pass++ {
		if err := t.objects.Seeding.Set(pass); err != nil {
			return err
		}
		if err := runIter(files); err != nil {
			return fmt.Errorf("walk open files: %w", err)
		}
		if err := runIter(tcp); err != nil {
			return fmt.Errorf("walk TCP sockets: %w", err)
		}
		if o.Scope == Host {
			// A namespace that cannot be entered has been seen through its processes' files.
			eachOtherNetns(o.Proc, func(uint32) error { return runIter(tcp) })
		}
	}
	return t.objects.Seeding.Set(bpf.FlowsSeedPassSEED_DONE)
}
