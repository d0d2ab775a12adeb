package trace

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
	"socktally/flows/dns"
	"socktally/flows/process"
	"socktally/record"
)

// dnsExpiry is how often queries without an answer are expired.
const dnsExpiry = time.Second

// DNSSocket is the socket at which a query was seen: the client's or, if the client is on another host, the server's.
type DNSSocket struct {
	Owner    process.Ref
	IsServer bool
}

// DNS reads copies of DNS packets.
type DNS struct {
	packets *ring
	ports   []uint16

	mu      sync.Mutex
	tallier *dns.Tallier[DNSSocket]
	expired uint64 // when queries were last expired
}

func newDNS(packets *ebpf.Map, o Options) (*DNS, error) {
	d := &DNS{
		ports:   o.DNSPorts,
		tallier: dns.New[DNSSocket](dns.Options{Timeout: o.DNSTimeout, MaxNames: o.DNSMaxNames}),
	}
	var err error
	if d.packets, err = newRing(packets, d.add); err != nil {
		return nil, fmt.Errorf("read DNS packets: %w", err)
	}
	return d, nil
}

func (d *DNS) add(sample []byte) {
	var p bpf.UdpDnsPacket
	payload, ok := decode(sample, &p)
	if !ok || len(payload) < int(p.Size) {
		return // the programs never write this
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Time > d.expired+uint64(dnsExpiry) {
		d.expire(p.Time)
	}
	local := netip.AddrPortFrom(address(p.Tuple.Local), p.Tuple.LocalPort)
	remote := netip.AddrPortFrom(address(p.Tuple.Remote), p.Tuple.RemotePort)
	packet := dns.Packet[DNSSocket]{
		Time: p.Time, Client: local, Server: remote, NetNS: p.Netns, FromClient: p.Out != 0,
		TCP: p.IsTcp != 0, Payload: payload[:p.Size],
	}
	packet.Owner.Owner = process.Ref{PID: p.Pid, NetNS: p.Netns, StartID: p.StartId, CgroupID: p.Cgroup, Comm: p.Comm}
	if packet.TCP {
		packet.NetNS = p.Tuple.Netns // the same at both ends of a connection
	}
	if d.isServer(&p) {
		packet.Client, packet.Server, packet.FromClient = remote, local, p.Out == 0
		packet.Owner.IsServer = true
	}
	if !packet.TCP {
		d.tallier.Add(packet)
		return
	}
	d.tallier.AddSegment(dns.Segment[DNSSocket]{
		Packet: packet, Sequence: p.Sequence, Length: p.Length, First: p.IsFirst != 0,
	})
}

// isServer says whether the socket is the server's: its port is a DNS port. If both ports are DNS ports, as between
// two resolvers, the end that sent first is the client.
func (d *DNS) isServer(p *bpf.UdpDnsPacket) bool {
	local, remote := slices.Contains(d.ports, p.Tuple.LocalPort), slices.Contains(d.ports, p.Tuple.RemotePort)
	if local != remote {
		return local
	}
	return p.IsServer != 0
}

// CatchUp returns when all packets so far are tallied. It must not be called concurrently.
func (d *DNS) CatchUp(ctx context.Context) error {
	now := monotonic()
	if err := d.packets.catchUp(ctx); err != nil {
		return fmt.Errorf("read DNS packets: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	return nil
}

func (d *DNS) expire(now uint64) {
	d.tallier.Expire(now)
	d.expired = now
}

// Take returns the tallies of queries since the last call.
func (d *DNS) Take() map[dns.Key[DNSSocket]]*record.DNSCounts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tallier.Take()
}

// Hold stops the reading of packets until release is called. Tests use it to fill the ring buffer.
func (d *DNS) Hold() (release func()) {
	d.mu.Lock()
	return d.mu.Unlock
}

// NameServers sets the ServerDomain of records: the name for which a client on this host got the address of the server.
func (d *DNS) NameServers(records []record.Flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := monotonic()
	for i := range records {
		records[i].ServerDomain = d.tallier.NameOf(records[i].Server.Addr, now)
	}
}

func (d *DNS) losses() dns.Losses {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tallier.Losses()
}

func (d *DNS) close() error {
	return d.packets.close()
}

// monotonic is the time in nanoseconds of the clock that bpf_ktime_get_ns uses.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}
