package flows

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"socktally/bpf"
	"socktally/record"
)

func manyRows(n int) []row {
	rows := make([]row, n)
	for i := range rows {
		remote := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		rows[i].key = clientKey("10.0.0.1", remote.String(), 443, 7)
		rows[i].flow.Sent = uint64(i) + 1
	}
	return rows
}

func clientKey(local, remote string, port uint16, pid uint32) bpf.FlowsFlowKey {
	return bpf.FlowsFlowKey{
		Local: netip.MustParseAddr(local).As16(), Remote: netip.MustParseAddr(remote).As16(),
		Port: port, Role: roleClient, Pid: pid, Netns: 1,
	}
}

// serverKey is the other end of clientKey.
func serverKey(k bpf.FlowsFlowKey, pid uint32) bpf.FlowsFlowKey {
	k.Local, k.Remote = k.Remote, k.Local
	k.PeerPid, k.Pid, k.Role, k.PeerIsLocal = k.Pid, pid, roleServer, 1
	return k
}

func testMerger() *merger {
	return newMerger("tcp", record.FromEBPF, newDescriber("/nonexistent", 8), 8)
}

func TestMergeBothEnds(t *testing.T) {
	m := testMerger()
	client := clientKey("10.0.0.1", "10.0.0.2", 80, 5)
	server := serverKey(client, 6)
	got := m.merge([]row{
		{client, bpf.FlowsFlow{Sent: 10, Received: 20, SegsOut: 3, SegsIn: 2, Established: 1, RttSum: 30, RttSamples: 2}},
		{server, bpf.FlowsFlow{Sent: 21, Received: 11, Established: 1, Reset: 1}},
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
	if got := m.merge([]row{{server, bpf.FlowsFlow{Closed: 1}}}); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if got := m.merge([]row{{client, bpf.FlowsFlow{Sent: 1}}}); len(got) != 1 || got[0].Server.Owner.PID != 6 {
		t.Errorf("got %+v", got)
	}
	// A reset that the client sent is known only to the server.
	if got := m.merge([]row{{server, bpf.FlowsFlow{Reset: 1}}}); len(got) != 1 || got[0].Resets != 1 || got[0].Client.Owner.PID != 5 {
		t.Errorf("got %+v", got)
	}
}

func TestMergeOneEnd(t *testing.T) {
	client := clientKey("10.0.0.1", "192.0.2.1", 443, 5)
	server := serverKey(clientKey("192.0.2.9", "10.0.0.1", 22, 0), 6)
	server.PeerIsLocal = 0
	got := testMerger().merge([]row{
		{client, bpf.FlowsFlow{Sent: 1, Received: 2, SegsOut: 3, SegsIn: 4}},
		{server, bpf.FlowsFlow{Sent: 1, Received: 2, SegsOut: 3, SegsIn: 4}},
		{clientKey("10.0.0.1", "192.0.2.3", 443, 5), bpf.FlowsFlow{Comm: [16]byte{'x'}}},
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
	elsewhere.Netns = 2
	got := testMerger().merge([]row{{client, bpf.FlowsFlow{Sent: 1}}, {elsewhere, bpf.FlowsFlow{Received: 1}}})
	if len(got) != 1 || got[0].Server.Owner.PID != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestOverflowRecord(t *testing.T) {
	var rows []row
	for _, key := range overflowKeys() {
		rows = append(rows, row{key, bpf.FlowsFlow{Sent: 5, Received: 7}})
	}
	var up, down uint64
	for _, r := range testMerger().merge(rows) {
		if !r.Overflow() {
			t.Errorf("got %+v", r)
		}
		up, down = up+r.BytesSentByClient, down+r.BytesSentByServer
	}
	if up != 12 || down != 12 {
		t.Errorf("%d up, %d down: the server whose client is here must not be counted", up, down)
	}
}

func TestRecordJSON(t *testing.T) {
	text, err := json.Marshal(record.Flow{
		Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Outgoing,
		Client:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{PID: 5, Process: "curl", Service: "web"}},
		Server:   record.Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		Counters: record.Counters{BytesSentByClient: 3, RTOCount: 2, Known: record.KnowsRTOCount},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"client_ip":"10.0.0.1"`, `"client_process":"curl"`, `"client_service":"web"`,
		`"server_port":443`, `"bytes_sent_by_client":3`, `"tcp_rto_count":2`, `"source":"ebpf"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Contains(string(text), "tcp_recovery_count") {
		t.Errorf("%s: what the kernel does not count is absent", text)
	}
}
