package trace

import (
	"errors"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/end"
	"socktally/internal/host"
)

// conversationsPerFlow is how many conversations are known for each flow that an interval may have:
// every port that a client uses is one. Of those that have been forgotten, who began is taken to be
// who sends next, and both ends are taken to be on different hosts.
const conntrackPerFlow = 2

// minConversations is the least number of conversations that are known at once.
const minConntrack = 16384

// UDP counts datagrams by programs on the root of the cgroup v2 hierarchy.
type UDP struct {
	*objects
	tables tables
	// DNS is nil where DNS is not tallied.
	DNS *DNS
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

// OpenUDP begins to count UDP and, if it was asked for, DNS.
func (s *Tracer) OpenUDP() (*UDP, error) {
	t := &UDP{}
	if err := t.open(s); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *UDP) open(s *Tracer) error {
	o := s.options
	root := host.Reader{Proc: o.Proc}.Cgroup2()
	if root == "" {
		return coverage.ErrNoCgroup2
	}
	spec, err := bpf.LoadUdp()
	if err != nil {
		return err
	}
	sizeTables(spec.Maps[bpf.UdpMapFlows], o.MaxFlows)
	spec.Maps[bpf.UdpMapUdpConntrack].MaxEntries = uint32(max(o.MaxFlows*conntrackPerFlow, minConntrack))
	if err := setScope(spec.Variables[bpf.UdpVarOnlyNetns], o); err != nil {
		return err
	}
	maps := s.sharedMaps()
	if s.processes == nil {
		if err := withoutProcesses(spec); err != nil {
			return err
		}
	}
	noRing := t.prepareDNS(o, spec, maps)
	if ring := maps[bpf.UdpMapDnsPackets]; ring != nil {
		defer ring.Close() // what is loaded has it for itself
	}
	if t.objects, err = loadMaps(spec, maps, o.LoadFaults); err != nil {
		return err
	}
	if err := t.tables.open(t.Maps[bpf.UdpMapFlows], spec.Maps[bpf.UdpMapFlows].InnerMap); err != nil {
		return err
	}
	for _, p := range packetPrograms {
		if _, err := t.load(p.name); err != nil {
			return err
		}
	}
	if len(o.DNSPorts) > 0 && noRing == nil {
		if t.DNS, err = newDNS(t.Maps[bpf.UdpMapDnsPackets], o); err != nil {
			return err
		}
	}
	if err := t.attach(root, s); err != nil {
		return err
	}
	s.addCoverage(coverage.UDP, coverage.ByPackets)
	if len(o.DNSPorts) > 0 {
		by := coverage.ByPackets
		if noRing != nil {
			by = ""
		}
		s.addCoverage(coverage.DNS, by, noRing)
	}
	return nil
}

// prepareDNS makes the ring of DNS packets and tells the programs their ports. Without a ring, or without a
// port, they look for none.
func (t *UDP) prepareDNS(o Options, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) (noRing error) {
	if len(o.DNSPorts) == 0 {
		withoutRing(spec, bpf.UdpMapDnsPackets)
		return nil
	}
	ring, err := makeRing(spec, bpf.UdpMapDnsPackets, o.LoadFaults)
	if err != nil {
		withoutRing(spec, bpf.UdpMapDnsPackets)
		return err
	}
	maps[bpf.UdpMapDnsPackets] = ring
	var ports [MaxDNSPorts]uint16
	copy(ports[:], o.DNSPorts)
	return spec.Variables[bpf.UdpVarDnsPorts].Set(ports)
}

// attach sees to it that sockets have owners, and then begins to count.
func (t *UDP) attach(root string, s *Tracer) error {
	_, refusedMade := t.load(bpf.UdpProgUdpSocketMade)
	by := ""
	if refusedMade == nil {
		refusedMade = t.attachTo(root, bpf.UdpProgUdpSocketMade, ebpf.AttachCGroupInetSockCreate)
	}
	if refusedMade == nil {
		by = coverage.BySockCreate
	} else if err := t.set(bpf.UdpVarNoSockCreate, uint32(1)); err != nil {
		return err
	}
	refusedFiles := t.seed()
	if refusedFiles == nil {
		by = coverage.Join(by, coverage.ByFiles)
	}
	for _, p := range packetPrograms {
		if err := t.attachTo(root, p.name, p.place); err != nil {
			return err
		}
	}
	s.addCoverage(coverage.UDPOwners, by, refusedMade, refusedFiles)
	return nil
}

func (t *UDP) attachTo(root, name string, place ebpf.AttachType) error {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: place, Program: t.Programs[name]})
	if err != nil {
		return &coverage.ObjectError{Name: name, Kind: "cgroup " + root, Err: err}
	}
	t.attached = append(t.attached, l)
	return nil
}

// seed notes the owners of the sockets that are older than the programs.
func (t *UDP) seed() error {
	program, err := t.load(bpf.UdpProgSeedUdpFiles)
	if err != nil {
		return err
	}
	files, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return &coverage.ObjectError{Name: bpf.UdpProgSeedUdpFiles, Kind: coverage.ByFiles, Err: err}
	}
	defer files.Close()
	if err := runIter(files); err != nil {
		return &coverage.ObjectError{Name: bpf.UdpProgSeedUdpFiles, Kind: coverage.ByFiles, Err: err}
	}
	return nil
}

// Flows returns all datagrams since the last call, each flow once.
func (t *UDP) Flows() ([]end.Flow, error) { return t.tables.take() }

// Losses returns what could not be counted since the start.
func (t *UDP) Losses() (coverage.Losses, error) {
	losses, err := countLosses(t.Maps[bpf.UdpMapLosses])
	if err != nil || t.DNS == nil {
		return losses, err
	}
	d := t.DNS.losses()
	losses.DNSMalformed, losses.DNSUnmatched, losses.DNSUntracked = d.Malformed, d.Unmatched, d.Untracked
	return losses, nil
}

// Close ends the counting.
func (t *UDP) Close() error {
	var errs []error
	for _, l := range t.attached {
		errs = append(errs, l.Close())
	}
	if t.DNS != nil {
		errs = append(errs, t.DNS.close())
	}
	errs = append(errs, t.tables.close())
	t.objects.close()
	return errors.Join(errs...)
}
