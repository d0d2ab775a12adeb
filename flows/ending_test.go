package flows

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"socktally/flows/trace"
	"socktally/record"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// failing calls a blocking connect(), which must fail.
//
// On a veth, the first ICMP error for a SYN arrives while connect() still has the lock of the socket: the kernel notes the
// error and sends the SYN again. The second ICMP error ends the attempt.
func (ns *namespace) failing(t testing.TB, address string) {
	t.Helper()
	to := netip.MustParseAddrPort(address)
	ns.do(func() error {
		family, sockaddr := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port()), Addr: v4(to.Addr())})
		if to.Addr().Is6() {
			family, sockaddr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, sockaddr); err == nil {
			t.Errorf("%s answers", address)
		}
		return nil
	})
}

// fail calls failing with a rule of nft at the server.
func (ns *namespace) fail(t testing.TB, server *namespace, rule, address string) {
	t.Helper()
	ns.sysctl("tcp_syn_retries", "1")
	ns.newerSysctl("tcp_syn_linear_timeouts", "0") // since Linux 6.5
	if rule != "" {
		needProgram(t, "nft")
		server.nft(rejectChain + rule + "; }; }")
		defer server.nft("delete table ip t")
	}
	ns.failing(t, address)
}

func v4(a netip.Addr) (b [4]byte) {
	if a.Is4() {
		b = a.As4()
	}
	return b
}

const rejectChain = "table ip t { chain c { type filter hook input priority 0; tcp dport 7 "

// failures are failing attempts to connect: the rule of nft, and what is counted.
var failures = []struct {
	name, rule, address string
	want                outcome
}{
	{"closed port", "", addrPort(serverIPv4, 7), outcome{Refusals: 1}},
	{"closed port, IPv6", "", addrPort(serverIPv6, 7), outcome{Refusals: 1}},
	{"reset", "reject with tcp reset", addrPort(serverIPv4, 7), outcome{Refusals: 1}},
	{"port unreachable", "reject with icmp type port-unreachable", addrPort(serverIPv4, 7), outcome{Refusals: 1}},
	{"prohibited", "reject with icmp type admin-prohibited", addrPort(serverIPv4, 7), outcome{Unreachables: 1}},
	{"host unreachable", "reject with icmp type host-unreachable", addrPort(serverIPv4, 7), outcome{Unreachables: 1}},
	{"net unreachable", "reject with icmp type net-unreachable", addrPort(serverIPv4, 7), outcome{Unreachables: 1}},
	{"dropped", "drop", addrPort(serverIPv4, 7), outcome{Timeouts: 1}},
}

func TestFailuresHaveColumns(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	for _, tc := range failures {
		t.Run(tc.name, func(t *testing.T) {
			client.fail(t, server, tc.rule, tc.address)
			sum, records := tallyUntil(t, counter, 7, 1)
			wantOutcome(t, sum, tc.want)
			if len(records) != 1 || records[0].Client.Owner.PID != uint32(os.Getpid()) {
				t.Errorf("got %+v", records)
			}
		})
	}
	wantNoLosses(t, counter)
}

// ending is a way in which a connection ends, and what is counted in addition to its first 1000 bytes.
type ending struct {
	name string
	end  func(t *testing.T, c, s *net.TCPConn)
	want outcome
}

func endings(server *namespace) []ending {
	return []ending{
		{"server resets", func(t *testing.T, c, s *net.TCPConn) {
			s.SetLinger(0)
			s.Close()
			io.Copy(io.Discard, c)
		}, outcome{Resets: 1}},
		{"client resets", func(t *testing.T, c, s *net.TCPConn) {
			c.SetLinger(0)
			c.Close()
			io.Copy(io.Discard, s)
		}, outcome{Resets: 1}},
		{"reset after a FIN", func(t *testing.T, c, s *net.TCPConn) {
			s.CloseWrite()
			io.Copy(io.Discard, c)
			s.SetLinger(0)
			s.Close()
		}, outcome{Resets: 1}},
		{"half-close, then data", func(t *testing.T, c, s *net.TCPConn) {
			c.CloseWrite()
			io.Copy(io.Discard, s)
			s.Write(make([]byte, 5000))
			s.Close()
			io.Copy(io.Discard, c)
		}, outcome{Down: 5000}},
		{"server closes first", func(t *testing.T, c, s *net.TCPConn) {
			s.Close()
			io.Copy(io.Discard, c)
			c.Close()
		}, outcome{}},
		{"both close at once", func(t *testing.T, c, s *net.TCPConn) {
			go s.Close()
			c.Close()
		}, outcome{}},
		{"unread data at close", func(t *testing.T, c, s *net.TCPConn) {
			s.Write(make([]byte, 3000))
			awaitQueue(t, c, unix.SIOCINQ, 3000)
			c.Close()
			io.Copy(io.Discard, s)
		}, outcome{Down: 3000, Resets: 1}},
		{"firewall resets", func(t *testing.T, c, s *net.TCPConn) {
			needProgram(t, "nft")
			server.nft("table ip t { chain c { type filter hook input priority 0; tcp dport " +
				portText(s) + " reject with tcp reset; }; }")
			defer server.nft("delete table ip t")
			c.Write([]byte{1})
			io.Copy(io.Discard, c)
		}, outcome{Up: 1, Resets: 1}},
		{"peer goes silent", func(t *testing.T, c, s *net.TCPConn) {
			needProgram(t, "nft")
			server.nft("table ip t { chain c { type filter hook input priority 0; tcp dport " +
				portText(s) + " drop; }; }")
			defer server.nft("delete table ip t")
			c.Write(make([]byte, 100))
			io.Copy(io.Discard, c)
		}, outcome{Up: 100, Timeouts: 1}},
	}
}

// play makes a connection of 1000 bytes, calls open, and ends it at both ends.
func (e ending) play(t *testing.T, client, server *namespace, l net.Listener, open func()) {
	t.Helper()
	client.sysctl("tcp_retries2", "3")
	c := client.dial("tcp4", l.Addr().String())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Write(make([]byte, 1000))
	io.ReadFull(s, make([]byte, 1000))
	open()
	e.end(t, c, s.(*net.TCPConn))
	c.Close()
	s.Close()
	client.awaitEnd(port(l))
	server.awaitEnd(port(l))
}

func TestEndings(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	for _, tc := range endings(server) {
		t.Run(tc.name, func(t *testing.T) {
			l := server.listen("tcp4", addrPort(serverIPv4, 0))
			tc.play(t, client, server, l, func() {})
			tc.want.Up += 1000
			tc.want.Established, tc.want.Closed = 1, 1
			sum, _ := tallyUntil(t, counter, port(l), 1)
			again, _ := tallyUntil(t, counter, port(l), 0)
			wantOutcome(t, plus(sum, again), tc.want)
		})
	}
}

func portText(c net.Conn) string {
	_, port, _ := strings.Cut(c.LocalAddr().String(), ":")
	return port
}

// With packet loss, retransmitted bytes are not counted as sent, and the retransmits are the same as the kernel's count.
func TestRetransmits(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	const n = 30 << 20
	// The rule for input is like loss on the wire. The rule for output is like loss in a queue of this host, where the kernel
	// counts a segment as sent again at each try.
	lossy := "table ip t { chain c { type filter hook input priority 0; numgen random mod 100 < 5 drop; };" +
		" chain o { type filter hook output priority 0; numgen random mod 100 < 1 drop; }; }"
	server.nft(lossy)
	client.nft(lossy)
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	before := client.snmp("RetransSegs")
	go exchange(l, n/10)
	upload(t, client.dial("tcp4", l.Addr().String()), n)
	client.nft("delete table ip t")
	server.nft("delete table ip t")
	sum, _ := tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Up: n, Down: n / 10, Established: 1, Closed: 1})
	if want := client.snmp("RetransSegs") - before; sum.Retransmits != want || want == 0 {
		t.Errorf("%d retransmits, the namespace counts %d", sum.Retransmits, want)
	}
}

// What a connection did before the Counter was opened is not counted; what it does after that is.
func olderConnections(t *testing.T, refuse trace.LoadFaults, check func(*Counter)) {
	t.Helper()
	needHostPIDs(t)
	client, server := newWire(t)
	l := server.listen("tcp4", addrPort(serverIPv4, 7000)) // lower than any port of a client: see seeded_role
	c := client.dial("tcp4", l.Addr().String())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Write(make([]byte, 10000))
	io.ReadFull(s, make([]byte, 10000))
	s.Write(make([]byte, 999))
	io.ReadFull(c, make([]byte, 999))
	// It is not accepted yet, so it is open in no process.
	waiting := client.dial("tcp4", l.Addr().String())
	waiting.Write(make([]byte, 50))
	awaitQueue(t, waiting, unix.SIOCOUTQ, 0)

	counter := openFor(t, Options{Mode: EBPF, loadFaults: refuse})
	check(counter)
	if sum, _ := tallyUntil(t, counter, port(l), 0); outcomeOf(sum) != (outcome{}) {
		t.Errorf("before anything happened: %+v", sum)
	}
	s.Write(make([]byte, 77))
	s.Close()
	if n, _ := io.Copy(io.Discard, c); n != 77 {
		t.Fatal(n)
	}
	c.Write(make([]byte, 5))
	c.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Write(make([]byte, 8))
	io.ReadFull(waiting, make([]byte, 8))
	waiting.Close()
	io.Copy(io.Discard, accepted)
	accepted.Close()
	sum, records := tallyUntil(t, counter, port(l), 2)
	want := outcome{Up: 5, Down: 85, Closed: 2}
	got := outcomeOf(sum)
	got.Resets = 0 // the server may have closed before the five bytes arrive
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, r := range records {
		if r.Server.Addr.String() != serverIPv4 || r.Server.Owner.PID != uint32(os.Getpid()) || r.Direction != record.Local {
			t.Errorf("got %+v", r)
		}
	}
	// A listener is older than the Counter. The connections that it accepts from now on have its owner.
	go exchange(l, 3)
	upload(t, client.dial("tcp4", l.Addr().String()), 4)
	sum, records = tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Up: 4, Down: 3, Established: 1, Closed: 1})
	if records[0].Server.Owner.PID != uint32(os.Getpid()) {
		t.Errorf("got %+v", records[0])
	}
	wantNoLosses(t, counter)
}

// With the scope of a network namespace, other namespaces are not counted.
func TestNetnsScope(t *testing.T) {
	client, server := newWire(t)
	elsewhere := newNamespace(t)
	counter := openIn(t, server, Options{Mode: EBPF, Scope: NetNS})
	hidden := elsewhere.listen("tcp4", "127.0.0.1:0")
	go exchange(hidden, 1)
	upload(t, elsewhere.dial("tcp4", hidden.Addr().String()), 1)
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 20)
	upload(t, client.dial("tcp4", l.Addr().String()), 10)
	client.awaitEnd(port(l))
	server.awaitEnd(port(l))
	records, err := counter.Tally(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0].Direction != record.Incoming || records[0].Server.Port != port(l) ||
		records[0].BytesSentByClient != 10 || records[0].BytesSentByServer != 20 {
		t.Errorf("got %+v", records)
	}
}
