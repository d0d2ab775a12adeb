package trace

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/process"
)

// visits run a program for one socket at a time. Which sockets there are is told by sock_diag; their counts
// are taken by the same code as a walk's, from the same baseline, so that a close cannot count them again.
type visits struct {
	program          *ebpf.Program
	target           *ebpf.Variable
	proc             string
	onlyCurrentNetns bool
}

func (t *TCP) openVisits() (*visits, error) {
	program, err := t.tracer.load(bpf.FlowsProgVisitSocket)
	if err != nil {
		return nil, err
	}
	v := &visits{program: program, target: t.tracer.Variables[bpf.FlowsVarWanted], proc: t.tracer.options.Proc, onlyCurrentNetns: t.tracer.options.OnlyCurrentNetns}
	if err := v.run(&bpf.FlowsVisit{}, 0); err != nil { // and it may be run
		return nil, &coverage.ObjectError{Name: bpf.FlowsProgVisitSocket, Kind: "BPF_PROG_RUN", Err: err}
	}
	return v, nil
}

// all visits every TCP socket of the caller's network namespace and, in the host's scope, of each that can be
// entered. ownerOf may be nil.
func (v *visits) all(ownerOf func(inode uint32) process.Ref) error {
	if err := v.each(ownerOf); err != nil {
		return fmt.Errorf("visit sockets: %w", err)
	}
	if !v.onlyCurrentNetns {
		// What a namespace does that cannot be entered is counted when its sockets close.
		process.EachOtherNetns(v.proc, func(uint32) error { return v.each(ownerOf) })
	}
	return nil
}

func (v *visits) each(ownerOf func(inode uint32) process.Ref) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		// The table changed while it was read: what was missed is found by the next walk.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
		for _, s := range sockets {
			if s.State == netlink.TCP_TIME_WAIT || s.State == netlink.TCP_SYN_RECV || s.State == netlink.TCP_CLOSE {
				continue
			}
			if err := v.run(visitOf(s, ownerOf), s.ID.Interface); err != nil {
				return err
			}
		}
	}
	return nil
}

func visitOf(s *netlink.Socket, ownerOf func(inode uint32) process.Ref) *bpf.FlowsVisit {
	local, remote := addrPort(s.ID.Source, s.ID.SourcePort), addrPort(s.ID.Destination, s.ID.DestinationPort)
	w := &bpf.FlowsVisit{
		Local: local.Addr().As16(), Remote: remote.Addr().As16(),
		LocalPort: bigEndian(local), RemotePort: bigEndian(remote),
	}
	if local.Addr().Is6() {
		w.IsIpv6 = 1
	}
	if ownerOf != nil {
		o := ownerOf(s.INode)
		w.Comm, w.Cgroup, w.StartId, w.Pid = o.Comm, o.CgroupID, o.StartID, o.PID
	}
	return w
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// bigEndian is a port as the network has it, in the memory of a machine whose first byte is the lowest.
func bigEndian(a netip.AddrPort) uint16 { return a.Port()>>8 | a.Port()<<8 }

// skb is the kernel's struct __sk_buff, as far as a program's run can set it.
type skb struct {
	_       [10]uint32
	Ifindex uint32
	_       [37]uint32
}

// run runs the program. A socket that is bound to a device is found only by packets of that.
func (v *visits) run(w *bpf.FlowsVisit, device uint32) error {
	if err := v.target.Set(w); err != nil {
		return err
	}
	o := ebpf.RunOptions{Data: make([]byte, 64)}
	if device != 0 {
		o.Context = &skb{Ifindex: device}
	}
	_, err := v.program.Run(&o)
	return err
}

// visitWalk walks by visits.
type visitWalk struct {
	*visits
	number func() error
}

func (w visitWalk) walk() error {
	if err := w.number(); err != nil {
		return err
	}
	return w.all(nil)
}

func (w visitWalk) close() error { return nil }
