// Package sockdiag counts TCP flows by polling NETLINK_SOCK_DIAG with INET_DIAG_INFO, which has the kernel's counters of
// each open socket. It needs no privilege in the caller's network namespace, and CAP_SYS_ADMIN to enter others. It knows
// the owner of a socket only if /proc shows the descriptors of that process.
package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"socktally/flows/coverage"
	"socktally/flows/end"
	"socktally/flows/process"
	"socktally/record"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Options are the settings of a Counter.
type Options struct {
	// OnlyCurrentNetns counts only the sockets of the caller's network namespace.
	OnlyCurrentNetns bool
	// MaxFlows is how many flows an interval may have.
	MaxFlows int
	// Proc is where procfs is mounted.
	Proc string
}

// Counter counts by polls. The first poll that finds a connection counts everything since it was opened. What a
// connection does after the last poll that finds it is not counted. It is not safe for concurrent use.
type Counter struct {
	options Options
	owners  *process.SocketOwners
	// connections are those of the last poll.
	connections map[socketID]*connection
	polls       uint64
	unreadable  uint64
	tableFull   uint64
}

// socketID is the kernel's id of a socket. It is not used again until the next boot.
type socketID struct {
	cookie uint64
	netns  uint32
}

// connection is the state of one connection between two polls.
type connection struct {
	key         end.Key
	last        counts // at the last poll
	established bool
	lastPoll    uint64 // the poll that found it last
}

// poll is the result of one poll of all namespaces.
type poll struct {
	sockets   []socket
	listening map[listeningPort]bool
	byTuple   map[tuple]*socket
	failed    uint64
}

type socket struct {
	id            socketID
	local, remote netip.AddrPort
	state         uint8
	inode         uint32
	info          *netlink.TCPInfo
	connection    *connection
}

type listeningPort struct {
	netns uint32
	port  uint16
}

type tuple struct {
	local, remote netip.AddrPort
	netns         uint32 // 0, unless the addresses are local to a network namespace
}

// Open makes a first poll. What the open connections have done so far is not counted.
func Open(o Options) (*Counter, error) {
	c := &Counter{options: o, owners: process.NewSocketOwners(o.Proc), connections: make(map[socketID]*connection)}
	p, err := c.poll()
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			// This is netlink's error if it has no handler for TCP.
			err = fmt.Errorf("the kernel has no tcp_diag, built in or as a module that it may load: %w", err)
		}
		return nil, fmt.Errorf("poll sockets by sock_diag: %w", err)
	}
	c.update(p)
	return c, nil
}

// Flows polls and returns the counts since the last call, each flow once.
func (c *Counter) Flows(ctx context.Context) ([]end.Flow, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := c.poll()
	if err != nil {
		return nil, fmt.Errorf("poll sockets by sock_diag: %w", err)
	}
	return c.update(p), nil
}

// poll polls the caller's namespace and, unless OnlyCurrentNetns is set, all others that it may enter.
func (c *Counter) poll() (*poll, error) {
	p := &poll{listening: make(map[listeningPort]bool), byTuple: make(map[tuple]*socket)}
	if err := c.pollCurrentNetns(p); err != nil {
		return nil, err
	}
	if !c.options.OnlyCurrentNetns {
		p.failed = uint64(process.EachOtherNetns(c.options.Proc, p.add))
	}
	c.unreadable += p.failed
	for i := range p.sockets {
		p.byTuple[tupleOf(&p.sockets[i])] = &p.sockets[i]
	}
	return p, nil
}

func (c *Counter) pollCurrentNetns(p *poll) error {
	runtime.LockOSThread() // each thread has its own current namespace
	defer runtime.UnlockOSThread()
	id, err := process.NetnsID(process.CurrentNetns(c.options.Proc))
	if err != nil {
		return err
	}
	return p.add(id)
}

// add adds the sockets of the current namespace of the thread.
func (p *poll) add(netns uint32) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		answer, err := netlink.SocketDiagTCPInfo(family)
		// The table has changed during the dump. The next poll finds what was missed.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
		for _, a := range answer {
			s := a.InetDiagMsg
			f := socket{
				id:     socketID{uint64(s.ID.Cookie[0]) | uint64(s.ID.Cookie[1])<<32, netns},
				local:  addrPortOf(s.ID.Source, s.ID.SourcePort),
				remote: addrPortOf(s.ID.Destination, s.ID.DestinationPort),
				state:  s.State, inode: s.INode, info: a.TCPInfo,
			}
			switch {
			case s.State == netlink.TCP_LISTEN:
				p.listening[listeningPort{netns, s.ID.SourcePort}] = true
			case s.State == netlink.TCP_TIME_WAIT || s.State == netlink.TCP_SYN_RECV || s.State == netlink.TCP_CLOSE || a.TCPInfo == nil:
				// It is not a connection yet, or not any more.
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

func tupleOf(f *socket) tuple {
	t := tuple{local: f.local, remote: f.remote}
	if f.local.Addr() == f.remote.Addr() || f.remote.Addr().IsLoopback() {
		t.netns = f.id.netns
	}
	return t
}

// update takes a new poll and returns what has changed since the last one.
func (c *Counter) update(p *poll) []end.Flow {
	c.polls++
	c.owners.BeginPoll()
	first := c.polls == 1
	for i := range p.sockets {
		f := &p.sockets[i]
		if f.connection = c.connections[f.id]; f.connection == nil {
			f.connection = c.newConnection(f, p)
			c.connections[f.id] = f.connection
		}
		f.connection.lastPoll = c.polls
	}
	sums := make(map[end.Key]*record.Counters)
	for i := range p.sockets {
		f := &p.sockets[i]
		c.findPeer(f, p)
		now := countsOf(f, &f.connection.last)
		delta := difference(&now, &f.connection.last, f.connection.key.Role)
		if f.state != netlink.TCP_SYN_SENT && !f.connection.established {
			f.connection.established = true
			delta.Established = 1
		}
		f.connection.last = now
		if !first {
			c.add(sums, f.connection, &delta)
		}
	}
	for id, flow := range c.connections {
		if flow.lastPoll != c.polls {
			delete(c.connections, id)
			if flow.established {
				c.add(sums, flow, &record.Counters{Closed: 1})
			}
		}
	}
	flows := make([]end.Flow, 0, len(sums))
	for key, sum := range sums {
		flows = append(flows, end.Flow{Key: key, Counters: *sum})
	}
	return flows
}

// newConnection makes the state of a connection that was not in the last poll.
func (c *Counter) newConnection(f *socket, p *poll) *connection {
	owner := c.owners.Of(f.inode)
	owner.NetNS = f.id.netns
	key := end.Key{Local: f.local.Addr(), Remote: f.remote.Addr(), Owner: owner, Role: end.Server, Port: f.local.Port()}
	if !p.listening[listeningPort{f.id.netns, f.local.Port()}] &&
		(p.peerListens(f) || f.remote.Port() < f.local.Port()) {
		key.Role, key.Port = end.Client, f.remote.Port()
	}
	return &connection{key: key}
}

// peerListens says whether the other end is on this host, with a port that is listened on.
func (p *poll) peerListens(f *socket) bool {
	other := p.peer(f)
	return other != nil && p.listening[listeningPort{other.id.netns, other.local.Port()}]
}

// peer is the other end of a connection within the host, else nil.
func (p *poll) peer(f *socket) *socket {
	t := tupleOf(f)
	t.local, t.remote = t.remote, t.local
	return p.byTuple[t]
}

// findPeer finds out whether the client of a server is on this host.
func (c *Counter) findPeer(f *socket, p *poll) {
	if f.connection.key.Role != end.Server || f.connection.key.PeerIsLocal {
		return
	}
	if client := p.peer(f); client != nil && client.connection != nil {
		f.connection.key.PeerIsLocal, f.connection.key.PeerPID = true, client.connection.key.Owner.PID
	}
}

func (c *Counter) add(sums map[end.Key]*record.Counters, flow *connection, delta *record.Counters) {
	if *delta == (record.Counters{}) {
		return
	}
	key := flow.key
	if _, ok := sums[key]; !ok && len(sums) >= c.options.MaxFlows {
		key = end.Key{Role: key.Role, PeerIsLocal: key.PeerIsLocal}
		c.tableFull++
	}
	sum, ok := sums[key]
	if !ok {
		sum = &record.Counters{}
		sums[key] = sum
	}
	sum.Add(delta)
}

// counts are the kernel's counters of a socket. Those of 32 bits wrap around.
type counts struct {
	sent, received                                                   uint64
	segsOut, segsIn, retransmits, deliveredCE, reordSeen, rcvOOOPack uint32
	rtt                                                              uint32 // microseconds
}

// countsOf returns the counters of a socket. No counter is less than at the last poll: the peer's FIN is counted as a
// byte at first, and may be subtracted only at the next poll.
func countsOf(f *socket, last *counts) counts {
	i := f.info
	received := i.Bytes_received
	switch f.state {
	case netlink.TCP_CLOSE_WAIT, netlink.TCP_LAST_ACK, netlink.TCP_CLOSING:
		received-- // the peer's FIN
	}
	return counts{
		sent: max(i.Bytes_sent-i.Bytes_retrans, last.sent), received: max(received, last.received),
		segsOut: i.Segs_out, segsIn: i.Segs_in, retransmits: i.Total_retrans, deliveredCE: i.Delivered_ce,
		reordSeen: i.Reord_seen, rcvOOOPack: i.Rcv_ooopack, rtt: i.Rtt,
	}
}

// difference is what a socket with that role did between two polls.
func difference(now, last *counts, role end.Role) record.Counters {
	c := record.Counters{
		BytesSentByClient:   now.sent - last.sent,
		BytesSentByServer:   now.received - last.received,
		PacketsSentByClient: uint64(now.segsOut - last.segsOut),
		PacketsSentByServer: uint64(now.segsIn - last.segsIn),
		Retransmits:         uint64(now.retransmits - last.retransmits),
		DeliveredCE:         uint64(now.deliveredCE - last.deliveredCE),
		ReordSeen:           uint64(now.reordSeen - last.reordSeen),
		RcvOOOPack:          uint64(now.rcvOOOPack - last.rcvOOOPack),
	}
	if role == end.Server {
		c = c.Reversed()
	}
	if c != (record.Counters{}) && now.rtt > 0 {
		c.RTTSum, c.RTTSamples = uint64(now.rtt), 1
	}
	return c
}

// Losses returns what could not be counted since Open.
func (c *Counter) Losses() (coverage.Losses, error) {
	return coverage.Losses{Unreadable: c.unreadable, TableFull: c.tableFull}, nil
}

// Close ends the counting.
func (c *Counter) Close() error { return nil }
