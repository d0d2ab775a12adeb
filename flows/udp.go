package flows

import (
	"errors"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"socktally/bpf"
	"socktally/internal/host"
)

// conversationsPerFlow is how many conversations are known for each flow that an interval may have:
// every port that a client uses is one. Of those that have been forgotten, who began is taken to be
// who sends next, and both ends are taken to be on different hosts.
const conversationsPerFlow = 2

// minConversations is the least number of conversations that are known at once.
const minConversations = 16384

var errNoCgroup2 = errors.New("no control groups of version 2 are mounted")

// udpTracer counts datagrams by programs on the root of the cgroup v2 hierarchy.
type udpTracer struct {
	*objects
	turns turns
	// dns is nil where DNS is not tallied.
	dns *dnsTracer
	// attached are the links that must go before the maps do.
	attached []io.Closer
}

// packetPrograms count datagrams, each at its place.
var packetPrograms = []struct {
	name  string
	place ebpf.AttachType
}{
	{bpf.UdpProgPacketSent, ebpf.AttachCGroupInetEgress},
	{bpf.UdpProgPacketReceived, ebpf.AttachCGroupInetIngress},
}

// openUDP begins to count UDP.
func openUDP(o Options, s *shared) (*udpTracer, error) {
	t := &udpTracer{}
	if err := t.open(o, s); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *udpTracer) open(o Options, s *shared) error {
	root := host.Reader{Proc: o.Proc}.Cgroup2()
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
	maps := s.maps()
	if s.processes == nil {
		if err := withoutProcesses(spec); err != nil {
			return err
		}
	}
	noRing := t.prepareDNS(o, spec, maps)
	if ring := maps[bpf.UdpMapDnsPackets]; ring != nil {
		defer ring.Close() // what is loaded has it for itself
	}
	if t.objects, err = loadMaps(spec, maps, o.refuse); err != nil {
		return err
	}
	if err := t.turns.open(t.Maps[bpf.UdpMapFlows], spec.Maps[bpf.UdpMapFlows].InnerMap); err != nil {
		return err
	}
	for _, p := range packetPrograms {
		if _, err := t.load(p.name); err != nil {
			return err
		}
	}
	if len(o.DNSPorts) > 0 && noRing == nil {
		if t.dns, err = newDNSTracer(t.Maps[bpf.UdpMapDnsPackets], o); err != nil {
			return err
		}
	}
	if err := t.attach(root, s); err != nil {
		return err
	}
	s.cover(PartUDP, byPackets)
	if len(o.DNSPorts) > 0 {
		by := byPackets
		if noRing != nil {
			by = ""
		}
		s.cover(PartDNS, by, noRing)
	}
	return nil
}

// prepareDNS makes the ring of DNS packets and tells the programs their ports. Without a ring, or without a
// port, they look for none.
func (t *udpTracer) prepareDNS(o Options, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) (noRing error) {
	if len(o.DNSPorts) == 0 {
		withoutRing(spec, bpf.UdpMapDnsPackets)
		return nil
	}
	ring, err := makeRing(spec, bpf.UdpMapDnsPackets, o.refuse)
	if err != nil {
		withoutRing(spec, bpf.UdpMapDnsPackets)
		return err
	}
	maps[bpf.UdpMapDnsPackets] = ring
	var ports [maxDNSPorts]uint16
	copy(ports[:], o.DNSPorts)
	return spec.Variables[bpf.UdpVarDnsPorts].Set(ports)
}

// attach sees to it that sockets have owners, and then begins to count.
func (t *udpTracer) attach(root string, s *shared) error {
	_, refusedMade := t.load(bpf.UdpProgUdpSocketMade)
	by := ""
	if refusedMade == nil {
		refusedMade = t.attachTo(root, bpf.UdpProgUdpSocketMade, ebpf.AttachCGroupInetSockCreate)
	}
	if refusedMade == nil {
		by = bySockCreate
	} else if err := t.set(bpf.UdpVarMakersUnseen, uint32(1)); err != nil {
		return err
	}
	refusedFiles := t.seed()
	if refusedFiles == nil {
		by = joinWords(by, byFiles)
	}
	for _, p := range packetPrograms {
		if err := t.attachTo(root, p.name, p.place); err != nil {
			return err
		}
	}
	s.cover(PartUDPOwners, by, refusedMade, refusedFiles)
	return nil
}

func (t *udpTracer) attachTo(root, name string, place ebpf.AttachType) error {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: place, Program: t.Programs[name]})
	if err != nil {
		return &refusedObject{name, "cgroup " + root, err}
	}
	t.attached = append(t.attached, l)
	return nil
}

// seed notes the owners of the sockets that are older than the programs.
func (t *udpTracer) seed() error {
	program, err := t.load(bpf.UdpProgSeedUdpFiles)
	if err != nil {
		return err
	}
	files, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return &refusedObject{bpf.UdpProgSeedUdpFiles, byFiles, err}
	}
	defer files.Close()
	if err := runIter(files); err != nil {
		return &refusedObject{bpf.UdpProgSeedUdpFiles, byFiles, err}
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
	errs = append(errs, t.turns.close())
	t.objects.close()
	return errors.Join(errs...)
}
