package flows

import (
	"net/netip"
	"testing"

	"socktally/flows/end"
	"socktally/flows/process"
	"socktally/record"
)

func manyEnds(n int) []end.Flow {
	ends := make([]end.Flow, n)
	for i := range ends {
		remote := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		ends[i].Key = clientKey("10.0.0.1", remote.String(), 443, 7)
		ends[i].BytesSentByClient = uint64(i) + 1
	}
	return ends
}

func clientKey(local, remote string, port uint16, pid uint32) end.Key {
	return end.Key{
		Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote),
		Port: port, Role: end.Client, Owner: process.Ref{PID: pid, NetNS: 1},
	}
}

// serverKey is the other end of clientKey.
func serverKey(k end.Key, pid uint32) end.Key {
	k.Local, k.Remote = k.Remote, k.Local
	k.PeerPID, k.Owner.PID, k.Role, k.PeerIsLocal = k.Owner.PID, pid, end.Server, true
	return k
}

func testMerger() *merger {
	return newMerger("tcp", record.FromEBPF, process.NewTable("/nonexistent", 8), 8)
}

func TestMergeBothEnds(t *testing.T) {
	m := testMerger()
	client := clientKey("10.0.0.1", "10.0.0.2", 80, 5)
	server := serverKey(client, 6)
	got := m.merge([]end.Flow{
		{Key: client, Counters: record.Counters{BytesSentByClient: 10, BytesSentByServer: 20, PacketsSentByClient: 3, PacketsSentByServer: 2,
			Established: 1, RTTSum: 30, RTTSamples: 2}},
		{Key: server, Counters: record.Counters{BytesSentByServer: 21, BytesSentByClient: 11, Established: 1, Resets: 1}},
	})
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	r := got[0]
	want := record.Counters{BytesSentByClient: 10, BytesSentByServer: 20, PacketsSentByClient: 3, PacketsSentByServer: 2,
		Established: 1, RTTSum: 30, RTTSamples: 2, Resets: 1}
	if r.Counters != want || r.Direction != record.Local || r.Client.Owner.PID != 5 || r.Server.Owner.PID != 6 || r.Server.Port != 80 {
		t.Errorf("got %+v", r)
	}
	// The server's close comes in another interval than the client's: it makes no record, and the
	// server's owner stays known.
	if got := m.merge([]end.Flow{{Key: server, Counters: record.Counters{Closed: 1}}}); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if got := m.merge([]end.Flow{{Key: client, Counters: record.Counters{BytesSentByClient: 1}}}); len(got) != 1 || got[0].Server.Owner.PID != 6 {
		t.Errorf("got %+v", got)
	}
	// A reset that the client sent is counted only at the server's end.
	if got := m.merge([]end.Flow{{Key: server, Counters: record.Counters{Resets: 1}}}); len(got) != 1 || got[0].Resets != 1 || got[0].Client.Owner.PID != 5 {
		t.Errorf("got %+v", got)
	}
}

func TestMergeOneEnd(t *testing.T) {
	client := clientKey("10.0.0.1", "192.0.2.1", 443, 5)
	server := serverKey(clientKey("192.0.2.9", "10.0.0.1", 22, 0), 6)
	server.PeerIsLocal = false
	got := testMerger().merge([]end.Flow{
		{Key: client, Counters: record.Counters{BytesSentByClient: 1, BytesSentByServer: 2, PacketsSentByClient: 3, PacketsSentByServer: 4}},
		{Key: server, Counters: record.Counters{BytesSentByServer: 1, BytesSentByClient: 2, PacketsSentByServer: 3, PacketsSentByClient: 4}},
		{Key: clientKey("10.0.0.1", "192.0.2.3", 443, 5), Counters: record.Counters{Known: record.KnowsRTOCount}},
	})
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	out, in := got[0], got[1]
	if out.Direction != record.Outgoing || out.BytesSentByClient != 1 || out.PacketsSentByServer != 4 || out.Server.Port != 443 {
		t.Errorf("got %+v", out)
	}
	if in.Direction != record.Incoming || in.BytesSentByClient != 2 || in.PacketsSentByServer != 3 || in.Server.Port != 22 ||
		in.Client.Addr.String() != "192.0.2.9" || in.Server.Owner.PID != 6 || in.Client.Owner.PID != 0 {
		t.Errorf("got %+v", in)
	}
}

// Loopback of two namespaces is not one flow.
func TestMergeKeepsNamespacesApart(t *testing.T) {
	client := clientKey("127.0.0.1", "127.0.0.1", 80, 5)
	elsewhere := serverKey(client, 6)
	elsewhere.Owner.NetNS = 2
	got := testMerger().merge([]end.Flow{{Key: client, Counters: record.Counters{BytesSentByClient: 1}}, {Key: elsewhere, Counters: record.Counters{BytesSentByClient: 1}}})
	if len(got) != 1 || got[0].Server.Owner.PID != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestOverflowRecord(t *testing.T) {
	var ends []end.Flow
	for _, key := range []end.Key{{Role: end.Client}, {Role: end.Server}, {Role: end.Server, PeerIsLocal: true}} {
		sum := record.Counters{BytesSentByClient: 5, BytesSentByServer: 7}
		if key.Role == end.Server {
			sum = record.Counters{BytesSentByClient: 7, BytesSentByServer: 5}
		}
		ends = append(ends, end.Flow{Key: key, Counters: sum})
	}
	var up, down uint64
	for _, r := range testMerger().merge(ends) {
		if !r.Overflow() {
			t.Errorf("got %+v", r)
		}
		up, down = up+r.BytesSentByClient, down+r.BytesSentByServer
	}
	if up != 12 || down != 12 {
		t.Errorf("%d up, %d down: the server whose client is here must not be counted", up, down)
	}
}
