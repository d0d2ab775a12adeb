package flows

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"socktally/record"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func (ns *namespace) listenUDP(network, address string) *net.UDPConn {
	ns.t.Helper()
	var c net.PacketConn
	ns.do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	ns.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func (ns *namespace) dialUDP(network, address string) *net.UDPConn {
	ns.t.Helper()
	var c net.Conn
	ns.do(func() (err error) {
		c, err = net.Dial(network, address)
		return err
	})
	ns.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func udpPort(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// answer returns, for each datagram, as many bytes as its first two say, or nothing for a shorter
// one. It counts for itself.
func answer(c *net.UDPConn, received *talk) {
	buffer, reply := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		received.bytesUp.Add(uint64(n))
		received.packetsUp.Add(1)
		if n < 2 {
			continue
		}
		size := binary.BigEndian.Uint16(buffer)
		received.bytesDown.Add(uint64(size))
		received.packetsDown.Add(1)
		c.WriteToUDPAddrPort(reply[:size], from)
	}
}

// talk is what two ends sent each other by their own count.
type talk struct {
	bytesUp, bytesDown, packetsUp, packetsDown atomic.Uint64
}

func (t *talk) counters() record.Counters {
	return record.Counters{
		BytesSentByClient: t.bytesUp.Load(), BytesSentByServer: t.bytesDown.Load(),
		PacketsSentByClient: t.packetsUp.Load(), PacketsSentByServer: t.packetsDown.Load(),
	}
}

// ask sends a datagram of up bytes and awaits the answer of down. to is not valid for a connected
// socket.
func ask(c *net.UDPConn, to netip.AddrPort, up, down int) error {
	message := make([]byte, up)
	binary.BigEndian.PutUint16(message, uint16(down))
	var err error
	if to.IsValid() {
		_, err = c.WriteToUDPAddrPort(message, to)
	} else {
		_, err = c.Write(message)
	}
	if err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(make([]byte, 1<<16))
	if err == nil && n != down {
		err = fmt.Errorf("the answer has %d bytes, want %d", n, down)
	}
	return err
}

// tallyUDP tallies once: nothing is late, because a datagram is counted before it can be read.
func tallyUDP(t testing.TB, c *Counter, ports ...uint16) (record.Counters, []record.Flow) {
	t.Helper()
	got, err := c.Tally(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var sum record.Counters
	var records []record.Flow
	for _, r := range got {
		for _, port := range ports {
			if r.Protocol == "udp" && r.Server.Port == port {
				records = append(records, r)
				sum = plus(sum, r.Counters)
			}
		}
	}
	return sum, records
}

func openUDPFor(t testing.TB, o Options) *Counter {
	t.Helper()
	c := openFor(t, o)
	needUDP(t, c)
	return c
}

func needUDP(t testing.TB, c *Counter) {
	t.Helper()
	if err := refusalOf(c, PartUDP); err != nil {
		lacks(t, "UDP to be counted: "+err.Error())
	}
}

func TestUDPIsExact(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	for _, tc := range []struct {
		name, listen, dial, clientIP string
		from, to                     *namespace
		family                       string
	}{
		{"ipv4", serverIPv4, serverIPv4, clientIPv4, client, server, "ipv4"},
		{"ipv6", serverIPv6, serverIPv6, clientIPv6, client, server, "ipv6"},
		{"mapped server", "::", serverIPv4, clientIPv4, client, server, "ipv4"},
		{"loopback", "127.0.0.1", "127.0.0.1", "127.0.0.1", client, client, "ipv4"},
		{"loopback ipv6", "::1", "::1", "::1", client, client, "ipv6"},
		{"one address", serverIPv4, serverIPv4, serverIPv4, server, server, "ipv4"},
	} {
		for _, connected := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/connected=%v", tc.name, connected), func(t *testing.T) {
				s := tc.to.listenUDP("udp", addrPort(tc.listen, 0))
				var counted talk
				go answer(s, &counted)
				to := netip.AddrPortFrom(netip.MustParseAddr(tc.dial), udpPort(s))
				var c *net.UDPConn
				if connected {
					c = tc.from.dialUDP("udp", to.String())
					to = netip.AddrPort{}
				} else {
					c = tc.from.listenUDP("udp", addrPort(tc.clientIP, 0))
				}
				for _, up := range []int{2, 3, 1452, 1453, 1472, 1473, 9000, 65487} {
					for _, down := range []int{0, up, 1} {
						if err := ask(c, to, up, down); err != nil {
							t.Fatal(err)
						}
					}
				}
				sum, records := tallyUDP(t, counter, udpPort(s))
				if want := counted.counters(); sum != want {
					t.Errorf("got  %+v\nwant %+v", sum, want)
				}
				if len(records) != 1 {
					t.Fatalf("%d records: %+v", len(records), records)
				}
				r := records[0]
				if r.Client.Addr.String() != tc.clientIP || r.Server.Addr.String() != tc.dial || r.Client.Port != 0 ||
					r.Family != tc.family || r.Direction != record.Local {
					t.Errorf("got %+v", r)
				}
				for _, owner := range []record.Owner{r.Client.Owner, r.Server.Owner} {
					if owner.PID != uint32(os.Getpid()) || owner.Process == "" || owner.NetNS == 0 {
						t.Errorf("owner %+v", owner)
					}
				}
				if sum, records := tallyUDP(t, counter, udpPort(s)); len(records) != 0 {
					t.Errorf("nothing happened: %+v", sum)
				}
			})
		}
	}
	wantNoLosses(t, counter)
}

// One socket speaks to many, as those that carry QUIC do: as a server, as a client, and as both.
func TestUDPManyPeers(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	hub := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	var asHub talk
	go answer(hub, &asHub)
	for range 200 {
		c := client.dialUDP("udp4", hub.LocalAddr().String())
		if err := ask(c, netip.AddrPort{}, 10, 20); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	sum, records := tallyUDP(t, counter, udpPort(hub))
	if want := asHub.counters(); sum != want || len(records) != 1 || sum.PacketsSentByClient != 200 {
		t.Errorf("%d records, got %+v, want %+v", len(records), sum, want)
	}

	// A socket that others speak to first speaks first to others.
	var asServers talk
	relay := client.listenUDP("udp4", addrPort(clientIPv4, 0))
	caller := server.dialUDP("udp4", relay.LocalAddr().String())
	if _, err := caller.Write(make([]byte, 33)); err != nil {
		t.Fatal(err)
	}
	relay.Read(make([]byte, 100))
	ports := []uint16{}
	for range 50 {
		s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
		go answer(s, &asServers)
		ports = append(ports, udpPort(s))
		if err := ask(relay, netip.AddrPortFrom(netip.MustParseAddr(serverIPv4), udpPort(s)), 100, 50); err != nil {
			t.Fatal(err)
		}
	}
	sum, records = tallyUDP(t, counter, append(ports, udpPort(relay))...)
	want := asServers.counters()
	want.BytesSentByClient += 33
	want.PacketsSentByClient++
	if sum != want || len(records) != 51 {
		t.Errorf("%d records, got %+v, want %+v", len(records), sum, want)
	}
	wantNoLosses(t, counter)
}

// The lower port is taken for the server's where nobody saw who began.
func TestUDPSocketsOlderThanTheCounter(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	s := server.listenUDP("udp4", addrPort(serverIPv4, 700))
	var before, after talk
	c := client.dialUDP("udp4", s.LocalAddr().String())
	unconnected := client.listenUDP("udp4", addrPort(clientIPv4, 0))
	to := netip.AddrPortFrom(netip.MustParseAddr(serverIPv4), 700)
	counted := &before
	go answer(s, counted)
	if err := errors.Join(ask(c, netip.AddrPort{}, 5000, 5000), ask(unconnected, to, 77, 99)); err != nil {
		t.Fatal(err)
	}
	counter := openUDPFor(t, Options{Mode: EBPF})
	had := before.counters()
	for range 10 {
		if err := errors.Join(ask(c, netip.AddrPort{}, 7, 9), ask(unconnected, to, 70, 90)); err != nil {
			t.Fatal(err)
		}
	}
	after.bytesUp.Store(before.bytesUp.Load() - had.BytesSentByClient)
	after.bytesDown.Store(before.bytesDown.Load() - had.BytesSentByServer)
	after.packetsUp.Store(before.packetsUp.Load() - had.PacketsSentByClient)
	after.packetsDown.Store(before.packetsDown.Load() - had.PacketsSentByServer)
	sum, records := tallyUDP(t, counter, 700)
	if want := after.counters(); sum != want || len(records) != 1 {
		t.Errorf("%d records, got %+v, want %+v", len(records), sum, want)
	}
	for _, r := range records {
		if r.Client.Owner.PID != uint32(os.Getpid()) || r.Server.Owner.PID != uint32(os.Getpid()) {
			t.Errorf("owners %+v and %+v", r.Client.Owner, r.Server.Owner)
		}
	}
}

// Of two ends older than the Counter, the server may be the first that it sees speak.
func TestUDPOlderServerSpeaksFirst(t *testing.T) {
	client, server := newWire(t)
	s := server.listenUDP("udp4", addrPort(serverIPv4, 701))
	c := client.listenUDP("udp4", addrPort(clientIPv4, 0))
	counter := openUDPFor(t, Options{Mode: EBPF})
	for range 3 {
		if _, err := s.WriteTo(make([]byte, 10), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		c.Read(make([]byte, 10))
	}
	_, records := tallyUDP(t, counter, 701)
	for _, r := range records {
		if r.Client.Addr.String() != clientIPv4 || r.BytesSentByClient != 0 {
			t.Errorf("got %+v", r)
		}
	}
	// From then on both ends are known to be here.
	s.WriteTo(make([]byte, 10), c.LocalAddr())
	c.Read(make([]byte, 10))
	if sum, records := tallyUDP(t, counter, 701); len(records) != 1 || sum.BytesSentByServer != 10 {
		t.Errorf("got %+v", records)
	}
}

// Tallies run while datagrams go, and the table has no room: no datagram is counted twice or lost.
func TestUDPIsExactWhileTallied(t *testing.T) {
	for name, maxFlows := range map[string]int{"roomy": 0, "table too small": 1} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			counter := openIn(t, ns, Options{Mode: EBPF, Scope: NetNS, MaxFlows: maxFlows})
			needUDP(t, counter)
			var sent talk
			var senders sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				s := ns.listenUDP("udp4", "127.0.0.1:0")
				c := ns.dialUDP("udp4", s.LocalAddr().String())
				go answer(s, new(talk))
				senders.Go(func() {
					for n := 2; ; n = n%1000 + 2 {
						select {
						case <-stop:
							return
						default:
						}
						if err := ask(c, netip.AddrPort{}, n, 7); err != nil {
							t.Error(err)
							return
						}
						sent.bytesUp.Add(uint64(n))
						sent.packetsUp.Add(1)
						sent.bytesDown.Add(7)
						sent.packetsDown.Add(1)
					}
				})
			}
			var sum record.Counters
			tally := func() {
				records, err := counter.Tally(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range records {
					sum = plus(sum, r.Counters)
				}
			}
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
				tally()
			}
			close(stop)
			senders.Wait()
			tally()
			if want := sent.counters(); sum != want {
				t.Errorf("got  %+v\nwant %+v", sum, want)
			}
			t.Logf("%d datagrams", sum.PacketsSentByClient+sum.PacketsSentByServer)
			losses, err := counter.Losses()
			if small := maxFlows == 1; err != nil || small == (losses.TableFull == 0) {
				t.Errorf("losses %+v, %v", losses, err)
			}
			losses.TableFull = 0
			if losses != (Losses{}) {
				t.Errorf("losses %+v", losses)
			}
		})
	}
}

// More is sent than the receiver takes: what it drops was received by the host.
func TestUDPFlood(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	c := client.dialUDP("udp4", s.LocalAddr().String())
	const n, size = 100_000, 128
	for range n {
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	sum, _ := tallyUDP(t, counter, udpPort(s))
	if want := (record.Counters{BytesSentByClient: n * size, PacketsSentByClient: n}); sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
}

// A Counter of one namespace sees its end alone, and tells by it which direction the flow has.
func TestUDPScope(t *testing.T) {
	client, server := newWire(t)
	atClient := openIn(t, client, Options{Mode: EBPF, Scope: NetNS})
	atServer := openIn(t, server, Options{Mode: EBPF, Scope: NetNS})
	needUDP(t, atClient)
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	var counted talk
	go answer(s, &counted)
	c := client.dialUDP("udp4", s.LocalAddr().String())
	for range 100 {
		if err := ask(c, netip.AddrPort{}, 40, 60); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		counter *Counter
		want    record.Direction
	}{{atClient, record.Outgoing}, {atServer, record.Incoming}} {
		sum, records := tallyUDP(t, tc.counter, udpPort(s))
		if want := counted.counters(); sum != want || len(records) != 1 || records[0].Direction != tc.want {
			t.Errorf("%s: got %+v", tc.want, records)
		}
	}
	elsewhere := openIn(t, newNamespace(t), Options{Mode: EBPF, Scope: NetNS})
	if err := ask(c, netip.AddrPort{}, 40, 60); err != nil {
		t.Fatal(err)
	}
	if records, err := elsewhere.Tally(context.Background()); err != nil || len(records) != 0 {
		t.Errorf("got %+v, %v", records, err)
	}
}

// The kernel takes many datagrams in one call, and may hand them on as one packet.
func TestUDPSegmentation(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	for _, where := range []struct {
		from, to *namespace
		address  string
	}{{client, server, serverIPv4}, {client, client, "127.0.0.1"}, {client, server, serverIPv6}} {
		s := where.to.listenUDP("udp", addrPort(where.address, 0))
		c := where.from.dialUDP("udp", s.LocalAddr().String())
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var failed error
		raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 500) })
		if failed != nil {
			t.Skip(failed)
		}
		if _, err := c.Write(make([]byte, 10_001)); err != nil {
			t.Fatal(err)
		}
		for range 21 {
			s.SetReadDeadline(time.Now().Add(patience))
			if _, err := s.Read(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		sum, _ := tallyUDP(t, counter, udpPort(s))
		if want := (record.Counters{BytesSentByClient: 10_001, PacketsSentByClient: 21}); sum != want {
			t.Errorf("%s: got %+v, want %+v", where.address, sum, want)
		}
	}
}

// A raw socket gets a copy of each datagram. It is not counted again.
func TestUDPRawSocket(t *testing.T) {
	ns := newNamespace(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	var fd int
	ns.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
		return err
	})
	defer unix.Close(fd)
	s := ns.listenUDP("udp4", "127.0.0.1:0")
	var counted talk
	go answer(s, &counted)
	if err := ask(ns.dialUDP("udp4", s.LocalAddr().String()), netip.AddrPort{}, 10, 20); err != nil {
		t.Fatal(err)
	}
	if sum, _ := tallyUDP(t, counter, udpPort(s)); sum != counted.counters() {
		t.Errorf("got %+v, want %+v", sum, counted.counters())
	}
}

// A socket that speaks to itself sends, and nobody answers.
func TestUDPToItself(t *testing.T) {
	ns := newNamespace(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	c := ns.listenUDP("udp4", "127.0.0.1:0")
	if _, err := c.WriteTo(make([]byte, 10), c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	c.Read(make([]byte, 10))
	sum, _ := tallyUDP(t, counter, udpPort(c))
	if want := (record.Counters{BytesSentByClient: 10, PacketsSentByClient: 1}); sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
}

// IPv6 has room for headers before UDP's.
func TestUDPExtensionHeaders(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	s := server.listenUDP("udp6", addrPort(serverIPv6, 0))
	var counted talk
	go answer(s, &counted)
	c := client.dialUDP("udp6", s.LocalAddr().String())
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	padding := string([]byte{0, 0, 1, 4, 0, 0, 0, 0}) // one PadN option
	var failed error
	raw.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding),
			unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, padding))
	})
	if failed != nil {
		t.Fatal(failed)
	}
	if err := ask(c, netip.AddrPort{}, 1000, 500); err != nil {
		t.Fatal(err)
	}
	if sum, _ := tallyUDP(t, counter, udpPort(s)); sum != counted.counters() {
		t.Errorf("got %+v, want %+v", sum, counted.counters())
	}
}

// Where this host translates an address, a connected socket still tells where it meant to go.
func TestUDPTranslatedAddress(t *testing.T) {
	client, server := newWire(t)
	client.nft(`table ip n {
		chain o {
			type nat hook output priority -100
			ip daddr 10.99.0.77 udp dport 5000 dnat to ` + serverIPv4 + `:5001
		}
	}`)
	counter := openIn(t, client, Options{Mode: EBPF, Scope: NetNS})
	needUDP(t, counter)
	s := server.listenUDP("udp4", addrPort(serverIPv4, 5001))
	var counted talk
	go answer(s, &counted)
	if err := ask(client.dialUDP("udp4", "10.99.0.77:5000"), netip.AddrPort{}, 11, 22); err != nil {
		t.Fatal(err)
	}
	sum, records := tallyUDP(t, counter, 5000)
	if sum != counted.counters() || len(records) != 1 || records[0].Direction != record.Outgoing {
		t.Errorf("got %+v", records)
	}
}

// What one sends to a group is counted once, however many sockets receive it.
func TestUDPMulticast(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	group := netip.MustParseAddrPort("239.1.2.3:5353")
	var members []*net.UDPConn
	server.do(func() error {
		i, err := net.InterfaceByName("s")
		if err != nil {
			return err
		}
		for range 3 {
			c, err := net.ListenMulticastUDP("udp4", i, net.UDPAddrFromAddrPort(group))
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			members = append(members, c)
		}
		return nil
	})
	c := client.listenUDP("udp4", addrPort(clientIPv4, 0))
	for range 5 {
		if _, err := c.WriteToUDPAddrPort(make([]byte, 100), group); err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			m.SetReadDeadline(time.Now().Add(patience))
			if _, err := m.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum, records := tallyUDP(t, counter, 5353)
	if want := (record.Counters{BytesSentByClient: 500, PacketsSentByClient: 5}); sum != want || records[0].Direction != record.Local {
		t.Errorf("got %+v", records)
	}
}

// So is one to all hosts of a network. Go's sockets may send such.
func TestUDPBroadcast(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	s := server.listenUDP("udp4", "0.0.0.0:6767")
	c := client.listenUDP("udp4", addrPort(clientIPv4, 0))
	for range 5 {
		if _, err := c.WriteToUDPAddrPort(make([]byte, 100), netip.MustParseAddrPort("10.99.0.255:6767")); err != nil {
			t.Fatal(err)
		}
		s.SetReadDeadline(time.Now().Add(patience))
		if _, err := s.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	sum, records := tallyUDP(t, counter, 6767)
	if want := (record.Counters{BytesSentByClient: 500, PacketsSentByClient: 5}); sum != want || records[0].Direction != record.Local {
		t.Errorf("got %+v", records)
	}
}

// childSend sends as many datagrams of 10 bytes as it is told, and ends.
func childSend(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	for range n {
		if _, err := c.Write(make([]byte, 10)); err != nil {
			return err
		}
	}
	return nil
}

// A process that is gone before the tally is still known.
func TestUDPProcessDeath(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	cmd, _ := client.child("send", nil, s.LocalAddr().String(), "25")
	cmd.Wait()
	sum, records := tallyUDP(t, counter, udpPort(s))
	if sum.BytesSentByClient != 250 || len(records) != 1 {
		t.Fatalf("got %+v", records)
	}
	owner := records[0].Client.Owner
	if owner.PID != uint32(cmd.Process.Pid) || !strings.HasPrefix(filepath.Base(os.Args[0]), owner.Process) {
		t.Errorf("owner %+v", owner)
	}
}

func TestUDPLeavesNothing(t *testing.T) {
	needPrivilege(t)
	root := cgroup2Mount("/proc")
	if root == "" {
		t.Skip("no cgroup v2 tree")
	}
	attached := func() (n [3]int) {
		f, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i, where := range []ebpf.AttachType{ebpf.AttachCGroupInetSockCreate, ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress} {
			result, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: where})
			if err != nil {
				t.Fatal(err)
			}
			n[i] = len(result.Programs)
		}
		return n
	}
	before := attached()
	c := openUDPFor(t, Options{Mode: EBPF})
	for i, n := range attached() {
		if n != before[i]+1 {
			t.Errorf("%d programs, %d before", n, before[i])
		}
	}
	c.Close()
	if after := attached(); after != before {
		t.Errorf("programs: %v before, %v after", before, after)
	}
}

func TestUDPIsLeftOut(t *testing.T) {
	c := openFor(t, Options{Mode: EBPF, NoUDP: true})
	if c.udp != nil || c.coverage.of(PartUDP) != nil {
		t.Errorf("UDP is counted, or refused: %v", c.Coverage())
	}
	// A process that sees no tree of control groups.
	proc := t.TempDir()
	write(t, filepath.Join(proc, "self/mountinfo"), "22 1 8:1 / / rw - ext4 /dev/root rw\n")
	c = openFor(t, Options{Mode: EBPF, Proc: proc})
	var refusal *Refusal
	if err := refusalOf(c, PartUDP); !errors.As(err, &refusal) || refusal.Reason != ReasonCgroup {
		t.Errorf("got %v", err)
	}
	if _, err := c.Tally(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestUDPRecordJSON(t *testing.T) {
	text, err := json.Marshal(record.Flow{
		Protocol: "udp", Server: record.Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		Counters: record.Counters{BytesSentByClient: 3, PacketsSentByServer: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"protocol":"udp"`, `"bytes_sent_by_client":3`, `"packets_sent_by_server":4`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Contains(string(text), "tcp_") || strings.Contains(string(text), "rtt_") {
		t.Errorf("%s has what only TCP has", text)
	}
}
