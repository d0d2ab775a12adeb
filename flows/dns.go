package flows

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/dns"
	"socktally/record"
)

// dnsExpiry is how often queries without an answer are looked for.
const dnsExpiry = time.Second

// dnsSocket is whose socket showed a query: mostly the client's, the server's where the client is
// on another host.
type dnsSocket struct {
	owner    owned
	isServer bool
}

// dnsTracer reads copies of DNS packets.
type dnsTracer struct {
	packets *ring
	ports   []uint16

	mu      sync.Mutex
	tallier *dns.Tallier[dnsSocket]
	expired uint64 // when queries without an answer were last looked for
}

func newDNSTracer(packets *ebpf.Map, o Options) (*dnsTracer, error) {
	d := &dnsTracer{
		ports:   o.DNSPorts,
		tallier: dns.New[dnsSocket](dns.Options{Timeout: o.DNSTimeout, MaxNames: o.DNSMaxNames}),
	}
	var err error
	if d.packets, err = newRing(packets, d.add); err != nil {
		return nil, fmt.Errorf("read DNS packets: %w", err)
	}
	return d, nil
}

func (d *dnsTracer) add(sample []byte) {
	var p bpf.UdpDnsPacket
	payload, ok := decode(sample, &p)
	if !ok || len(payload) < int(p.Size) {
		return // not what the programs write
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Time > d.expired+uint64(dnsExpiry) {
		d.expire(p.Time)
	}
	local := netip.AddrPortFrom(address(p.Tuple.Local), p.Tuple.LocalPort)
	remote := netip.AddrPortFrom(address(p.Tuple.Remote), p.Tuple.RemotePort)
	packet := dns.Packet[dnsSocket]{
		Time: p.Time, Client: local, Server: remote, NetNS: p.Netns, FromClient: p.Out != 0,
		TCP: p.IsTcp != 0, Payload: payload[:p.Size],
	}
	packet.Owner.owner = owned{pid: p.Pid, netns: p.Netns, life: p.StartId, cgroup: p.Cgroup, comm: p.Comm}
	if packet.TCP {
		packet.NetNS = p.Tuple.Netns // both ends of a connection are to be known as one
	}
	if d.isServer(&p) {
		packet.Client, packet.Server, packet.FromClient = remote, local, p.Out == 0
		packet.Owner.isServer = true
	}
	if !packet.TCP {
		d.tallier.Add(packet)
		return
	}
	d.tallier.AddSegment(dns.Segment[dnsSocket]{
		Packet: packet, Sequence: p.Sequence, Length: p.Length, First: p.IsFirst != 0,
	})
}

// isServer says whether the socket is the server's. The port says so; where both have such a port,
// as between resolvers, who began does.
func (d *dnsTracer) isServer(p *bpf.UdpDnsPacket) bool {
	local, remote := slices.Contains(d.ports, p.Tuple.LocalPort), slices.Contains(d.ports, p.Tuple.RemotePort)
	if local != remote {
		return local
	}
	return p.IsServer != 0
}

// catchUp returns when all packets that have passed are tallied. Only one may call it at a time.
func (d *dnsTracer) catchUp(ctx context.Context) error {
	now := monotonic()
	if err := d.packets.catchUp(ctx); err != nil {
		return fmt.Errorf("read DNS packets: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	return nil
}

func (d *dnsTracer) expire(now uint64) {
	d.tallier.Expire(now)
	d.expired = now
}

func (d *dnsTracer) take() map[dns.Key[dnsSocket]]*record.DNSCounts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tallier.Take()
}

// nameServers gives the records' servers the names that clients on this host asked for.
func (d *dnsTracer) nameServers(records []record.Flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := monotonic()
	for i := range records {
		records[i].ServerDomain = d.tallier.NameOf(records[i].Server.Addr, now)
	}
}

func (d *dnsTracer) losses() dns.Losses {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tallier.Losses()
}

func (d *dnsTracer) close() error {
	return d.packets.close()
}

// monotonic is the clock that the kernel stamps packets by.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}
