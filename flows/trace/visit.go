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

// visits run a program for one socket at a time. sock_diag lists the sockets. The program counts them in the same way as a
// walk does, with the same baseline, so a close does not count anything twice.
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
	if err := v.run(&bpf.FlowsVisit{}, 0); err != nil { // the kernel may not allow BPF_PROG_RUN
		return nil, &coverage.ObjectError{Name: bpf.FlowsProgVisitSocket, Kind: "BPF_PROG_RUN", Err: err}
	}
	return v, nil
}

// all visits every TCP socket in the caller's network namespace and, unless only that is counted, in each other one that
// the caller may enter. ownerOf may be nil.
func (v *visits) all(ownerOf func(inode uint32) process.Ref) error {
	if err := v.each(ownerOf); err != nil {
		return fmt.Errorf("visit sockets: %w", err)
	}
	if !v.onlyCurrentNetns {
		// Sockets in a namespace that cannot be entered are counted when they close.
		process.EachOtherNetns(v.proc, func(uint32) error { return v.each(ownerOf) })
	}
	return nil
}

func (v *visits) each(ownerOf func(inode uint32) process.Ref) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		// The table has changed during the dump. The next walk finds what was missed.
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

// bigEndian is a port in network byte order. The BPF programs are for little-endian machines only.
func bigEndian(a netip.AddrPort) uint16 { return a.Port()>>8 | a.Port()<<8 }

// skb is the kernel's struct __sk_buff. Only the field that is set here has a name.
type skb struct {
	_       [10]uint32
	Ifindex uint32
	_       [37]uint32
}

// run runs the program. A socket that is bound to a device is found only if the packet comes from that device.
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

// visitWalk visits each open socket.
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
