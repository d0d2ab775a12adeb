package flows

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/dns"
)

const (
	// dnsLook is how often copies of packets are looked for, where there are not so many that the
	// programs call.
	dnsLook = 100 * time.Millisecond
	// dnsExpiry is how often queries without an answer are looked for.
	dnsExpiry = time.Second
)

// dnsSocket is whose socket showed a query: mostly the client's, the server's where the client is
// on another host.
type dnsSocket struct {
	owner    owned
	isServer bool
}

// dnsTracer reads copies of DNS packets. Its loop runs from start to close.
type dnsTracer struct {
	reader *ringbuf.Reader
	ports  []uint16
	loop   sync.WaitGroup
	// drained gets a word each time that the ring was emptied because somebody asked for it.
	drained chan struct{}

	mu      sync.Mutex
	tallier *dns.Tallier[dnsSocket]
	// failed ends the loop.
	failed error
}

func newDNSTracer(ring *ebpf.Map, o Options) (*dnsTracer, error) {
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, fmt.Errorf("read DNS packets: %w", err)
	}
	d := &dnsTracer{
		reader:  reader,
		ports:   o.DNSPorts,
		drained: make(chan struct{}, 1),
		tallier: dns.New[dnsSocket](dns.Options{Timeout: o.DNSTimeout, MaxNames: o.DNSMaxNames}),
	}
	d.loop.Go(d.run)
	return d, nil
}

func (d *dnsTracer) run() {
	var record ringbuf.Record
	expired := monotonic()
	for {
		began := monotonic()
		d.reader.SetDeadline(time.Now().Add(dnsLook))
		err := d.readAll(&record)
		switch {
		case errors.Is(err, ringbuf.ErrFlushed):
			select {
			case d.drained <- struct{}{}:
			default:
			}
		case !errors.Is(err, os.ErrDeadlineExceeded):
			d.mu.Lock()
			d.failed = err
			d.mu.Unlock()
			close(d.drained)
			return
		}
		if began-expired >= uint64(dnsExpiry) {
			d.mu.Lock()
			d.tallier.Expire(began)
			d.mu.Unlock()
			expired = began
		}
	}
}

// readAll reads until there is nothing more, and returns why it looked: the deadline, or a call.
func (d *dnsTracer) readAll(record *ringbuf.Record) error {
	for {
		if err := d.reader.ReadInto(record); err != nil {
			return err
		}
		d.mu.Lock()
		d.add(record.RawSample)
		d.mu.Unlock()
	}
}

var dnsHeader = binary.Size(bpf.UdpDnsPacket{})

func (d *dnsTracer) add(sample []byte) {
	var p bpf.UdpDnsPacket
	if n, err := binary.Decode(sample, binary.NativeEndian, &p); err != nil || len(sample)-n < int(p.Size) {
		return // not what the programs write
	}
	local := netip.AddrPortFrom(address(p.Tuple.Local), p.Tuple.LocalPort)
	remote := netip.AddrPortFrom(address(p.Tuple.Remote), p.Tuple.RemotePort)
	packet := dns.Packet[dnsSocket]{
		Time: p.Time, Client: local, Server: remote, NetNS: p.Netns, FromClient: p.Out != 0,
		TCP: p.IsTcp != 0, Payload: sample[dnsHeader:][:p.Size],
	}
	packet.Owner.owner = owned{pid: p.Pid, netns: p.Netns, life: p.Life, cgroup: p.Cgroup, comm: p.Comm}
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
	select { // the word for one who did not wait for it
	case <-d.drained:
	default:
	}
	if err := d.reader.Flush(); err != nil {
		return fmt.Errorf("read DNS packets: %w", err)
	}
	select {
	case <-d.drained:
	case <-ctx.Done():
		return ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return fmt.Errorf("read DNS packets: %w", d.failed)
	}
	return nil
}

func (d *dnsTracer) take() map[dns.Key[dnsSocket]]*dns.Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tallier.Take()
}

// nameServers gives the records' servers the names that clients on this host asked for.
func (d *dnsTracer) nameServers(records []Record) {
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
	err := d.reader.Close()
	d.loop.Wait()
	return err
}

// monotonic is the clock that the kernel stamps packets by.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}
