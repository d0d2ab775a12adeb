package flows

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/flows/coverage"
	"socktally/flows/trace"
	"socktally/record"
)

// failingLoads lets the load of these programs and maps fail.
func failingLoads(names ...string) trace.LoadFaults {
	r := trace.LoadFaults{}
	for _, name := range names {
		r[name] = unix.EPERM
	}
	return r
}

// walkFallbacks are the ways to walk over the open sockets. refuse has what must fail so that the way is taken.
var walkFallbacks = []struct {
	name      string
	refuse    trace.LoadFaults
	by        string
	sees      bool // open connections of other namespaces are counted
	seesInOwn bool // open connections of the current namespace are counted
}{
	{"storage", nil, coverage.ByStorage, true, true},
	{"TCP table and files", failingLoads(bpf.FlowsProgWalkStorage), coverage.ByTCPTable + " and " + coverage.ByFiles, true, true},
	{"files", failingLoads(bpf.FlowsProgWalkStorage, bpf.FlowsProgWalkTcp), coverage.ByFiles, true, true},
	{"TCP tables", failingLoads(bpf.FlowsProgWalkStorage, bpf.FlowsProgWalkFiles), coverage.ByTCPTable, true, true},
	{"visits", failingLoads(bpf.FlowsProgWalkStorage, bpf.FlowsProgWalkTcp, bpf.FlowsProgWalkFiles), coverage.BySockDiag, true, true},
	{"none", failingLoads(bpf.FlowsProgWalkStorage, bpf.FlowsProgWalkTcp, bpf.FlowsProgWalkFiles, bpf.FlowsProgVisitSocket), "", false, false},
}

// wantEntry checks how a part is counted. It skips the test if the kernel allows less than the test wants.
func wantEntry(t *testing.T, c *Counter, part coverage.Part, by string) *coverage.Entry {
	t.Helper()
	cover := c.report.Of(part)
	if cover == nil {
		t.Fatalf("%s: nothing is said of it", part)
	}
	if cover.By != by {
		refused(t, string(part), errors.New(cover.Because()))
	}
	return cover
}

// Each tally has what an open connection did since the last tally, and nothing if it did nothing. If no walk is possible,
// everything is counted when the connection closes.
func TestWalkFallbacks(t *testing.T) {
	for _, fallback := range walkFallbacks {
		t.Run(fallback.name, func(t *testing.T) {
			client, server := newWire(t)
			counter := openFor(t, Options{Mode: EBPF, NoUDP: true, loadFaults: fallback.refuse})
			cover := wantEntry(t, counter, coverage.TCPOpen, fallback.by)
			if (cover.Lost == "") != fallback.sees || len(cover.Errors) != len(fallback.refuse) {
				t.Errorf("got %+v", cover)
			}
			here := netip.MustParseAddrPort("127.0.0.1:0").String()
			l, err := net.Listen("tcp4", here)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			dial := func() *net.TCPConn {
				c, err := net.Dial("tcp4", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				return c.(*net.TCPConn)
			}
			t.Run("own namespace", func(t *testing.T) { tellByDifferences(t, counter, l, dial(), fallback.seesInOwn) })
			for _, ip := range []string{serverIPv4, serverIPv6} {
				l := server.listen("tcp", addrPort(ip, 0))
				t.Run(ip, func(t *testing.T) {
					tellByDifferences(t, counter, l, client.dial("tcp", l.Addr().String()), fallback.sees)
				})
			}
			wantNoLosses(t, counter)
		})
	}
}

func tellByDifferences(t *testing.T, counter *Counter, l net.Listener, c *net.TCPConn, sees bool) {
	t.Helper()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var told outcome
	want := func(more outcome) {
		t.Helper()
		if !sees && more.Closed == 0 {
			told = outcome{told.Up + more.Up, told.Down + more.Down, told.Established + more.Established, 0, 0, 0, 0, 0}
			more = outcome{}
		} else if !sees {
			more.Up, more.Down, more.Established = told.Up, told.Down, told.Established
		}
		sum, _ := tallyUntil(t, counter, port(l), more.Closed)
		wantOutcome(t, sum, more)
	}
	say := func(from io.Writer, to io.Reader, n int) {
		from.Write(make([]byte, n))
		io.ReadFull(to, make([]byte, n))
	}
	say(c, s, 1000)
	want(outcome{Up: 1000, Established: 1})
	say(c, s, 5)
	say(s, c, 7000)
	want(outcome{Up: 5, Down: 7000})
	tallyUntil(t, counter, port(l), 0) // a last acknowledgement may have been late
	if _, records := tallyUntil(t, counter, port(l), 0); len(records) != 0 {
		t.Errorf("nothing happened: %+v", records)
	}
	c.CloseWrite()
	io.Copy(io.Discard, s)
	s.Close()
	c.Close()
	want(outcome{Closed: 1})
}

// A walk over files does not find a socket that is open in no process. It is counted when it closes.
func TestWalkCannotSeeOrphans(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF, NoUDP: true, loadFaults: failingLoads(bpf.FlowsProgWalkStorage, bpf.FlowsProgWalkTcp)})
	wantEntry(t, counter, coverage.TCPOpen, coverage.ByFiles)
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	c := client.dial("tcp4", l.Addr().String())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	const n = 160 << 10 // more than the window of the peer, less than any kernel lets wait to be sent
	c.SetWriteBuffer(2 * n)
	s.(*net.TCPConn).SetReadBuffer(4096)
	c.Write(make([]byte, n))
	c.Close() // it is open in no process any more, and has not sent all yet
	before, _ := tallyUntil(t, counter, port(l), 0)
	if before.BytesSentByClient >= n || before.Closed != 0 {
		t.Fatalf("it has sent all: %+v", before)
	}
	if got, err := io.Copy(io.Discard, s); got != n || err != nil {
		t.Fatal(got, err)
	}
	s.Close()
	sum, _ := tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, plus(before, sum), outcome{Up: n, Established: 1, Closed: 1})
	wantNoLosses(t, counter)
}

// Connections older than the Counter, with each way to find them.
func TestOlderConnections(t *testing.T) {
	for _, fallback := range []struct {
		name   string
		refuse trace.LoadFaults
		by     string
	}{
		{"files and TCP table", nil, coverage.ByFiles + " and " + coverage.ByTCPTable},
		{"files", failingLoads(bpf.FlowsProgSeedTcp), coverage.ByFiles + " and " + coverage.BySockDiag},
		{"TCP table", failingLoads(bpf.FlowsProgSeedFiles), coverage.BySockDiag + " and " + coverage.ByTCPTable},
		{"visits", failingLoads(bpf.FlowsProgSeedFiles, bpf.FlowsProgSeedTcp), coverage.BySockDiag},
	} {
		t.Run(fallback.name, func(t *testing.T) {
			olderConnections(t, fallback.refuse, func(counter *Counter) {
				if cover := wantEntry(t, counter, coverage.TCPOlder, fallback.by); cover.Lost != "" || len(cover.Errors) != len(fallback.refuse) {
					t.Errorf("got %+v", cover)
				}
			})
		})
	}
}

// If there is no way to find older connections, they are not counted, and each one that closes is a loss.
func TestOlderConnectionsAreNotFound(t *testing.T) {
	client, server := newWire(t)
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 5)
	c := client.dial("tcp4", l.Addr().String())
	counter := openFor(t, Options{Mode: EBPF, NoUDP: true, loadFaults: failingLoads(bpf.FlowsProgSeedFiles, bpf.FlowsProgSeedTcp, bpf.FlowsProgVisitSocket)})
	cover := wantEntry(t, counter, coverage.TCPOlder, "")
	if cover.Lost == "" || len(cover.Errors) != 3 {
		t.Errorf("got %+v", cover)
	}
	upload(t, c, 10)
	upload(t, client.dial("tcp4", l.Addr().String()), 11)
	sum, _ := tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Up: 11, Down: 5, Established: 1, Closed: 1})
	losses, err := counter.Losses()
	if err != nil || losses.Untracked != 2 { // both its ends
		t.Errorf("losses %+v, %v", losses, err)
	}
}

// UDP and DNS do not need the programs for TCP. Without these, TCP is polled.
func TestTCPIsRefused(t *testing.T) {
	for _, program := range trace.StateChanges {
		t.Run(program, func(t *testing.T) {
			client, server := newWire(t)
			counter := openFor(t, Options{loadFaults: failingLoads(program)})
			if cover := wantEntry(t, counter, coverage.TCP, coverage.BySockDiag); cover.Lost == "" || cover.Errors[0].Name != program || counter.Source() != record.FromSockDiag {
				t.Errorf("got %+v, source %s", cover, counter.Source())
			}
			if counter.report.Of(coverage.TCPOpen) != nil {
				t.Errorf("got %v", counter.Coverage())
			}
			exactUDP(t, counter, client, server)
			// What lasts from one poll to the next is counted.
			l := server.listen("tcp4", addrPort(serverIPv4, 0))
			c := client.dial("tcp4", l.Addr().String())
			c.Write(make([]byte, 1234))
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(s, make([]byte, 1234))
			sum, records := tallyUntil(t, counter, port(l), 0)
			wantOutcome(t, sum, outcome{Up: 1234, Established: 1})
			if len(records) != 1 || records[0].Source != record.FromSockDiag {
				t.Errorf("got %+v", records)
			}
		})
	}
	_, err := Open(Options{Mode: EBPF, loadFaults: failingLoads(bpf.FlowsProgSocketChanged)})
	if err == nil || os.Geteuid() == 0 && err.Error() != "trace flows by eBPF: socket_changed (tp_btf/inet_sock_set_state): operation not permitted" {
		t.Errorf("got %v", err)
	}
}

func exactUDP(t *testing.T, counter *Counter, client, server *namespace) {
	t.Helper()
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	var received talk
	go answer(s, &received)
	c := client.dialUDP("udp4", s.LocalAddr().String())
	for range 10 {
		if err := ask(c, netip.AddrPort{}, 100, 1000); err != nil {
			t.Fatal(err)
		}
	}
	sum, records := tallyUDP(t, counter, udpPort(s))
	if sum != received.counters() || sum.BytesSentByClient != 1000 {
		t.Errorf("got %+v, want %+v", sum, received.counters())
	}
	if len(records) != 1 || records[0].Source != record.FromEBPF {
		t.Errorf("got %+v", records)
	}
}

// If a program for UDP cannot be loaded, only what it counts is missing.
func TestUDPIsRefusedInPart(t *testing.T) {
	const all = coverage.BySockCreate + " and " + coverage.ByFiles
	for _, tc := range []struct {
		refused      string
		owners, dns  string
		udp, ownsNew bool
	}{
		{bpf.UdpProgSeedUdpFiles, coverage.BySockCreate, coverage.ByPackets, true, true},
		{bpf.UdpProgUdpSocketMade, coverage.ByFiles, coverage.ByPackets, true, false},
		{bpf.UdpMapDnsPackets, all, "", true, true},
		{bpf.FlowsMapProcesses, all, coverage.ByPackets, true, true},
		{bpf.UdpProgPacketSent, "", "", false, false},
		{bpf.UdpProgPacketReceived, "", "", false, false},
	} {
		t.Run(tc.refused, func(t *testing.T) {
			client, server := newWire(t)
			counter := openFor(t, Options{Mode: EBPF, loadFaults: failingLoads(tc.refused)})
			i := slices.IndexFunc(counter.Coverage(), func(c coverage.Entry) bool { return len(c.Errors) > 0 })
			if i < 0 || counter.Coverage()[i].Errors[0].Name != tc.refused || counter.Coverage()[i].Lost == "" {
				t.Errorf("got %v", counter.Coverage())
			}
			l := server.listen("tcp4", addrPort(serverIPv4, 0))
			go exchange(l, 20)
			upload(t, client.dial("tcp4", l.Addr().String()), 10)
			sum, records := tallyUntil(t, counter, port(l), 1)
			wantOutcome(t, sum, outcome{Up: 10, Down: 20, Established: 1, Closed: 1})
			if len(records) != 1 || records[0].Client.Owner.Process != "flows.test" {
				t.Errorf("got %+v", records)
			}
			if !tc.udp {
				if counter.udp != nil || counter.report.Of(coverage.UDPOwners) != nil || wantEntry(t, counter, coverage.UDP, "").Lost == "" {
					t.Errorf("got %v", counter.Coverage())
				}
				return
			}
			wantEntry(t, counter, coverage.UDPOwners, tc.owners)
			wantEntry(t, counter, coverage.DNS, tc.dns)
			exactUDP(t, counter, client, server)
			asksDNS(t, counter, client, server, tc.dns != "", tc.ownsNew)
		})
	}
}

// asksDNS asks a question that nobody answers.
func asksDNS(t *testing.T, counter *Counter, client, server *namespace, counted, owned bool) {
	t.Helper()
	server.listenUDP("udp4", addrPort(serverIPv4, 53))
	c := client.dialUDP("udp4", addrPort(serverIPv4, 53))
	c.Write(query(t, 1, "refused.invalid."))
	sums, records := tallyDNS(t, counter, serverIPv4)
	if got := sums["refused.invalid A"].Requests; got == 1 != counted {
		t.Errorf("got %d requests", got)
	}
	if counted && (records[0].Client.Owner.PID == uint32(os.Getpid())) != owned {
		t.Errorf("got %+v", records[0].Client)
	}
}
