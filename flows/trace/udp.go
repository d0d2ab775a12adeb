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

// conntrackPerFlow is the size of the connection tracking, as a multiple of the flows that an interval may have. There is
// one entry for each port of a client. If an entry was removed for lack of room, the end that sends next is taken for
// the client, and the ends are taken to be on different hosts.
const conntrackPerFlow = 2

// minConntrack is the least size of the connection tracking.
const minConntrack = 16384

// UDP counts datagrams by programs at the root of the cgroup v2 hierarchy.
type UDP struct {
	*objects
	tables tables
	// DNS is nil if DNS is not tallied.
	DNS *DNS
	// attached are the links. They are closed before the maps.
	attached []io.Closer
}

// packetPrograms are the programs that count datagrams, and where they attach.
var packetPrograms = []struct {
	name  string
	place ebpf.AttachType
}{
	{bpf.UdpProgPacketSent, ebpf.AttachCGroupInetEgress},
	{bpf.UdpProgPacketReceived, ebpf.AttachCGroupInetIngress},
}

// OpenUDP starts to count UDP and, if there are DNS ports, DNS.
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
	ringErr := t.prepareDNS(o, spec, maps)
	if ring := maps[bpf.UdpMapDnsPackets]; ring != nil {
		defer ring.Close() // the loaded collection has its own descriptor
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
	if len(o.DNSPorts) > 0 && ringErr == nil {
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
		if ringErr != nil {
			by = ""
		}
		s.addCoverage(coverage.DNS, by, ringErr)
	}
	return nil
}

// prepareDNS makes the ring buffer of DNS packets and sets the DNS ports. If there is no ring buffer, no port is set, and
// the programs copy no packet.
func (t *UDP) prepareDNS(o Options, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) (ringErr error) {
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

// attach attaches the programs: first those that note the owners of sockets, then those that count.
func (t *UDP) attach(root string, s *Tracer) error {
	_, createErr := t.load(bpf.UdpProgUdpSocketMade)
	by := ""
	if createErr == nil {
		createErr = t.attachTo(root, bpf.UdpProgUdpSocketMade, ebpf.AttachCGroupInetSockCreate)
	}
	if createErr == nil {
		by = coverage.BySockCreate
	} else if err := t.set(bpf.UdpVarNoSockCreate, uint32(1)); err != nil {
		return err
	}
	filesErr := t.seed()
	if filesErr == nil {
		by = coverage.Join(by, coverage.ByFiles)
	}
	for _, p := range packetPrograms {
		if err := t.attachTo(root, p.name, p.place); err != nil {
			return err
		}
	}
	s.addCoverage(coverage.UDPOwners, by, createErr, filesErr)
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
	files, err := t.iterate(bpf.UdpProgSeedUdpFiles, link.IterOptions{})
	if err != nil {
		return err
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
