package flows

import (
	"errors"
	"net/netip"
	"os"
	"testing"
)

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

// Both ends are older than the Counter, and the first datagram that it sees is one of the server.
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
