package flows

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"socktally/bpf"
)

// conversationsPerFlow is how many conversations are known for each flow that an interval may have:
// every port that a client uses is one. Of those that have been forgotten, who began is taken to be
// who sends next, and both ends are taken to be on different hosts.
const conversationsPerFlow = 2

// minConversations is the least number of conversations that are known at once.
const minConversations = 16384

var errNoCgroup2 = errors.New("no control groups of version 2 are mounted")

// udpTracer counts datagrams by programs on the root of the tree of control groups.
type udpTracer struct {
	objects bpf.UdpObjects
	turns   turns
	// dns is nil where DNS is not tallied.
	dns *dnsTracer
	// attached are the links that must go before the maps do.
	attached []io.Closer
}

// openUDP begins to count UDP. shared are TCP's maps of processes and of sockets' owners.
func openUDP(o Options, shared map[string]*ebpf.Map) (*udpTracer, error) {
	t := &udpTracer{}
	if err := t.open(o, shared); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *udpTracer) open(o Options, shared map[string]*ebpf.Map) error {
	root := cgroup2Mount(o.Proc)
	if root == "" {
		return errNoCgroup2
	}
	spec, err := bpf.LoadUdp()
	if err != nil {
		return err
	}
	sizeTables(spec.Maps[bpf.UdpMapFlows], o.MaxFlows)
	spec.Maps[bpf.UdpMapConversations].MaxEntries = uint32(max(o.MaxFlows*conversationsPerFlow, minConversations))
	if err := setScope(spec.Variables[bpf.UdpVarOnlyNetns], o); err != nil {
		return err
	}
	var ports [maxDNSPorts]uint16
	copy(ports[:], o.DNSPorts)
	if err := spec.Variables[bpf.UdpVarDnsPorts].Set(ports); err != nil {
		return err
	}
	err = spec.LoadAndAssign(&t.objects, &ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return err
	}
	if err := t.turns.open(t.objects.Flows, spec.Maps[bpf.UdpMapFlows].InnerMap); err != nil {
		return err
	}
	if len(o.DNSPorts) > 0 {
		if t.dns, err = newDNSTracer(t.objects.DnsPackets, o); err != nil {
			return err
		}
	}
	return t.attach(root)
}

// attach first sees to it that every socket has an owner, and then begins to count.
func (t *udpTracer) attach(root string) error {
	if err := t.attachTo(root, ebpf.AttachCGroupInetSockCreate, t.objects.UdpSocketMade); err != nil {
		return err
	}
	if err := t.seed(); err != nil {
		return err
	}
	if err := t.attachTo(root, ebpf.AttachCGroupInetEgress, t.objects.PacketSent); err != nil {
		return err
	}
	return t.attachTo(root, ebpf.AttachCGroupInetIngress, t.objects.PacketReceived)
}

func (t *udpTracer) attachTo(root string, where ebpf.AttachType, p *ebpf.Program) error {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: where, Program: p})
	if err != nil {
		return fmt.Errorf("attach to control group %s: %w", root, err)
	}
	t.attached = append(t.attached, l)
	return nil
}

// seed notes the owners of the sockets that are older than the programs.
func (t *udpTracer) seed() error {
	files, err := link.AttachIter(link.IterOptions{Program: t.objects.SeedUdpFiles})
	if err != nil {
		return err
	}
	defer files.Close()
	if err := runIter(files); err != nil {
		return fmt.Errorf("walk open files: %w", err)
	}
	return nil
}

func (t *udpTracer) close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.Close())
	}
	if t.dns != nil {
		errs = append(errs, t.dns.close())
	}
	errs = append(errs, t.turns.close(), t.objects.Close())
	return errors.Join(errs...)
}
