package flows

import (
	"errors"
	"net"
	"net/netip"
	"socktally/record"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
			refused(t, "UDP_SEGMENT", failed)
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

// A socket sends to itself. Each datagram is counted once, as sent.
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

// NAT on this host changes an address. The flow of a connected socket has the address before NAT.
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

// A datagram to a multicast group is counted once at the sender, however many sockets receive it.
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

// A broadcast datagram is counted once, too. Go sets SO_BROADCAST on its sockets.
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
