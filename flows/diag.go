package flows

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"socktally/bpf"
)

// diag counts by polling NETLINK_SOCK_DIAG. A connection is known from the first poll that finds it
// to the last; what it does before, it did since its start and is counted; what it does after the
// last is not seen.
type diag struct {
	options Options
	owners  *socketOwners
	// flows is what is known of the sockets of the last poll.
	flows      map[socketID]*polled
	polls      uint64
	unreadable uint64
	tableFull  uint64
}

// socketID is the kernel's name of a socket for as long as the host runs.
type socketID struct {
	cookie uint64
	netns  uint32
}

// polled is one connection.
type polled struct {
	key         bpf.FlowsFlowKey
	comm        [16]byte
	last        bpf.FlowsFlow // its counts at the last poll
	established bool
	seen        uint64 // the poll that found it last
}

// poll is what one look at all namespaces found.
type poll struct {
	sockets   []found
	listening map[listeningPort]bool
	byTuple   map[tuple]*found
	failed    uint64
}

type found struct {
	id            socketID
	local, remote netip.AddrPort
	state         uint8
	inode         uint32
	info          *netlink.TCPInfo
	flow          *polled
}

type listeningPort struct {
	netns uint32
	port  uint16
}

type tuple struct {
	local, remote netip.AddrPort
	netns         uint32 // only for addresses that other namespaces have too
}

func openDiag(o Options) (source, error) {
	d := &diag{options: o, owners: newSocketOwners(o.Proc), flows: make(map[socketID]*polled)}
	p, err := d.poll()
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			// What netlink says where it finds no handler for TCP.
			err = fmt.Errorf("the kernel has no tcp_diag, built in or as a module that it may load: %w", err)
		}
		return nil, fmt.Errorf("poll sockets by sock_diag: %w", err)
	}
	d.update(p) // what is open already is the baseline
	return d, nil
}

func (d *diag) rows(ctx context.Context) ([]row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := d.poll()
	if err != nil {
		return nil, fmt.Errorf("poll sockets by sock_diag: %w", err)
	}
	return d.update(p), nil
}

// poll looks into the caller's namespace and, in the host's scope, into all others that it may enter.
func (d *diag) poll() (*poll, error) {
	p := &poll{listening: make(map[listeningPort]bool), byTuple: make(map[tuple]*found)}
	if err := d.pollOwn(p); err != nil {
		return nil, err
	}
	if d.options.Scope == Host {
		p.failed = uint64(eachOtherNetns(d.options.Proc, p.add))
	}
	d.unreadable += p.failed
	for i := range p.sockets {
		p.byTuple[tupleOf(&p.sockets[i])] = &p.sockets[i]
	}
	return p, nil
}

func (d *diag) pollOwn(p *poll) error {
	runtime.LockOSThread() // the namespace is the thread's
	defer runtime.UnlockOSThread()
	id, err := netnsID(ownNetns(d.options.Proc))
	if err != nil {
		return err
	}
	return p.add(id)
}

// add adds the sockets of the namespace that the thread is in.
func (p *poll) add(netns uint32) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		answer, err := netlink.SocketDiagTCPInfo(family)
		// The table changed while it was read: what was missed is found by the next poll.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
		for _, a := range answer {
			s := a.InetDiagMsg
			f := found{
				id:     socketID{uint64(s.ID.Cookie[0]) | uint64(s.ID.Cookie[1])<<32, netns},
				local:  addrPortOf(s.ID.Source, s.ID.SourcePort),
				remote: addrPortOf(s.ID.Destination, s.ID.DestinationPort),
				state:  s.State, inode: s.INode, info: a.TCPInfo,
			}
			switch {
			case s.State == netlink.TCP_LISTEN:
				p.listening[listeningPort{netns, s.ID.SourcePort}] = true
			case s.State == netlink.TCP_TIME_WAIT || s.State == netlink.TCP_SYN_RECV || s.State == netlink.TCP_CLOSE || a.TCPInfo == nil:
				// No connection yet, or none any more.
			default:
				p.sockets = append(p.sockets, f)
			}
		}
	}
	return nil
}

func addrPortOf(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

func tupleOf(f *found) tuple {
	t := tuple{local: f.local, remote: f.remote}
	if f.local.Addr() == f.remote.Addr() || f.remote.Addr().IsLoopback() {
		t.netns = f.id.netns
	}
	return t
}

// update turns a poll into the rows of what changed since the last.
func (d *diag) update(p *poll) []row {
	d.polls++
	d.owners.next()
	first := d.polls == 1
	for i := range p.sockets {
		f := &p.sockets[i]
		if f.flow = d.flows[f.id]; f.flow == nil {
			f.flow = d.begin(f, p)
			d.flows[f.id] = f.flow
		}
		f.flow.seen = d.polls
	}
	sums := make(map[bpf.FlowsFlowKey]*bpf.FlowsFlow)
	for i := range p.sockets {
		f := &p.sockets[i]
		d.meet(f, p)
		now := countsOf(f, &f.flow.last)
		delta := difference(&now, &f.flow.last)
		if f.state != netlink.TCP_SYN_SENT && !f.flow.established {
			f.flow.established = true
			delta.Established = 1
		}
		f.flow.last = now
		if !first {
			d.add(sums, f.flow, &delta)
		}
	}
	for id, flow := range d.flows {
		if flow.seen != d.polls {
			delete(d.flows, id)
			if flow.established {
				d.add(sums, flow, &bpf.FlowsFlow{Closed: 1})
			}
		}
	}
	rows := make([]row, 0, len(sums))
	for key, flow := range sums {
		rows = append(rows, row{key, *flow})
	}
	return rows
}

// begin describes a connection that the poll found first.
func (d *diag) begin(f *found, p *poll) *polled {
	o := d.owners.of(f.inode)
	key := bpf.FlowsFlowKey{
		Local:  f.local.Addr().As16(),
		Remote: f.remote.Addr().As16(),
		Cgroup: o.cgroup,
		StartId:   o.life,
		Netns:  f.id.netns,
		Pid:    o.pid,
		Role:   roleServer,
		Port:   f.local.Port(),
	}
	if !p.listening[listeningPort{f.id.netns, f.local.Port()}] &&
		(p.listensAt(f) || f.remote.Port() < f.local.Port()) {
		key.Role, key.Port = roleClient, f.remote.Port()
	}
	return &polled{key: key, comm: o.comm}
}

// listensAt says whether the other end is here and at a port that is listened on.
func (p *poll) listensAt(f *found) bool {
	other := p.other(f)
	return other != nil && p.listening[listeningPort{other.id.netns, other.local.Port()}]
}

// other is the other end of a connection within the host.
func (p *poll) other(f *found) *found {
	t := tupleOf(f)
	t.local, t.remote = t.remote, t.local
	return p.byTuple[t]
}

// meet notes of a server whether its client is on this host.
func (d *diag) meet(f *found, p *poll) {
	if f.flow.key.Role != roleServer || f.flow.key.PeerIsLocal != 0 {
		return
	}
	if client := p.other(f); client != nil && client.flow != nil {
		f.flow.key.PeerIsLocal, f.flow.key.PeerPid = 1, client.flow.key.Pid
	}
}

func (d *diag) add(sums map[bpf.FlowsFlowKey]*bpf.FlowsFlow, flow *polled, delta *bpf.FlowsFlow) {
	if idle(delta) {
		return
	}
	key := flow.key
	if _, ok := sums[key]; !ok && len(sums) >= d.options.MaxFlows {
		key = bpf.FlowsFlowKey{Role: key.Role, PeerIsLocal: key.PeerIsLocal}
		d.tableFull++
	}
	sum, ok := sums[key]
	if !ok {
		sum = &bpf.FlowsFlow{Comm: flow.comm}
		sums[key] = sum
	}
	accumulate(sum, delta)
}

// countsOf are a socket's counts since its start. A byte that the kernel takes back (the peer's
// FIN, between two polls) does not make them go back.
func countsOf(f *found, last *bpf.FlowsFlow) bpf.FlowsFlow {
	i := f.info
	received := i.Bytes_received
	switch f.state {
	case netlink.TCP_CLOSE_WAIT, netlink.TCP_LAST_ACK, netlink.TCP_CLOSING:
		received-- // the peer's FIN
	}
	return bpf.FlowsFlow{
		Sent:        max(i.Bytes_sent-i.Bytes_retrans, last.Sent),
		Received:    max(received, last.Received),
		SegsOut:     uint64(i.Segs_out),
		SegsIn:      uint64(i.Segs_in),
		RttSum:      uint64(i.Rtt),
		Retransmits: i.Total_retrans,
		DeliveredCe: i.Delivered_ce,
		ReordSeen:   i.Reord_seen,
		Ooo:         i.Rcv_ooopack,
	}
}

func difference(now, last *bpf.FlowsFlow) bpf.FlowsFlow {
	d := bpf.FlowsFlow{
		Sent:        now.Sent - last.Sent,
		Received:    now.Received - last.Received,
		SegsOut:     uint64(uint32(now.SegsOut - last.SegsOut)),
		SegsIn:      uint64(uint32(now.SegsIn - last.SegsIn)),
		Retransmits: now.Retransmits - last.Retransmits,
		DeliveredCe: now.DeliveredCe - last.DeliveredCe,
		ReordSeen:   now.ReordSeen - last.ReordSeen,
		Ooo:         now.Ooo - last.Ooo,
	}
	if !idle(&d) && now.RttSum > 0 {
		d.RttSum, d.RttSamples = now.RttSum, 1
	}
	return d
}

func accumulate(sum, delta *bpf.FlowsFlow) {
	sum.Sent += delta.Sent
	sum.Received += delta.Received
	sum.SegsOut += delta.SegsOut
	sum.SegsIn += delta.SegsIn
	sum.RttSum += delta.RttSum
	sum.RttSamples += delta.RttSamples
	sum.Retransmits += delta.Retransmits
	sum.Established += delta.Established
	sum.Closed += delta.Closed
	sum.DeliveredCe += delta.DeliveredCe
	sum.ReordSeen += delta.ReordSeen
	sum.Ooo += delta.Ooo
}

func (d *diag) losses() (Losses, error) {
	return Losses{Unreadable: d.unreadable, TableFull: d.tableFull}, nil
}

// countsRTOs is false: the library does not read these fields.
func (d *diag) countsRTOs() bool { return false }

func (d *diag) close() error { return nil }
