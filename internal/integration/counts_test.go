package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCountsEqualNstat makes the kernel count in a network namespace of the test's own, and holds what `once` says of
// it, since the `once` before, to what nstat says.
func TestCountsEqualNstat(t *testing.T) {
	for _, name := range []string{"nstat", "nft", "tc"} {
		needTool(t, name)
	}
	if !inNamespace(t, socktally) {
		return
	}
	state := "SOCKTALLY_STATE_DIR=" + t.TempDir()
	if first := countsOfOnce(t, state); len(first) > 0 {
		t.Errorf("the first once has the counts %v, want none", first)
	}
	before := nstat(t)
	provoked := map[string]func(t *testing.T) float64{ // each returns the count, or -1 for any above 0
		"sockstat.tcp.listen_overflows": overflowListener,
		"sockstat.tcp.listen_drops":     nil, // an overflow is one
		"sockstat.tcp.retrans_segs":     dropSegments,
		"sockstat.tcp.syncookies_sent":  answerWithCookies,
		"sockstat.udp.rcvbuf_errors":    fillReceiveBuffer,
		"sockstat.udp.sndbuf_errors":    fillSendBuffer,
		"sockstat.udp.no_ports":         sendToNobody,
	}
	exact := map[string]float64{}
	for name, provoke := range provoked {
		if provoke != nil {
			exact[name] = provoke(t)
		}
	}
	after := nstatAtRest(t)
	counted := countsOfOnce(t, state)
	if now := nstat(t); fmt.Sprint(now) != fmt.Sprint(after) {
		t.Fatalf("the kernel counted on while it was read:\n%v\n%v", after, now)
	}
	for name, c := range kernelCounts {
		want := after[c.line+c.counter] - before[c.line+c.counter]
		if got, sent := counted[name]; !sent || got != want {
			t.Errorf("%s = %v, nstat counted %v", name, got, want)
		}
		if _, done := provoked[name]; done && want == 0 {
			t.Errorf("%s was not provoked", name)
		}
		if n := exact[name]; n > 0 && want != n {
			t.Errorf("%s: the test made %v, nstat counted %v", name, n, want)
		}
	}
	t.Logf("counted %v", counted)
	for name, n := range countsOfOnce(t, state) {
		if n != 0 {
			t.Errorf("%s = %v in an interval in which nothing happened", name, n)
		}
	}
}

// countsOfOnce returns the counts of the kernel that one run sends.
func countsOfOnce(t *testing.T, env ...string) map[string]float64 {
	t.Helper()
	p := startSocktally(t, append(env, "SOCKTALLY_FORWARD=stdout"), "once")
	if code := p.wait(t); code != 0 || p.stderr.String() != "" {
		t.Fatalf("once: code %d, stderr %q", code, p.stderr.String())
	}
	counts := map[string]float64{}
	for line := range strings.Lines(p.stdout.String()) {
		name, rest, _ := strings.Cut(line, ":")
		value, kind, _ := strings.Cut(rest, "|")
		if _, known := kernelCounts[name]; !known {
			continue
		}
		if !strings.HasPrefix(kind, "c") {
			t.Errorf("%q is no count", line)
		}
		counts[name] = number(t, value)
	}
	return counts
}

// nstat returns the kernel's counters of this namespace by its names: that of the line and the counter's.
func nstat(t *testing.T) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(mustRun(t, "nstat", "-asz")) {
		if words := strings.Fields(line); len(words) == 3 && !strings.HasPrefix(line, "#") {
			all[words[0]] = number(t, words[1])
		}
	}
	for name, c := range kernelCounts {
		if _, found := all[c.line+c.counter]; !found {
			t.Fatalf("nstat has nothing for %s", name)
		}
	}
	return all
}

// nstatAtRest waits until no counter has changed for half a second, longer than the first retransmissions take.
func nstatAtRest(t *testing.T) (last map[string]float64) {
	t.Helper()
	same := 0
	eventually(t, func() error {
		now := nstat(t)
		if same++; fmt.Sprint(now) != fmt.Sprint(last) {
			same, last = 0, now
		}
		if same < 10 {
			time.Sleep(50 * time.Millisecond)
			return errors.New("the kernel's counters still change")
		}
		return nil
	})
	return last
}

// overflowListener connects to a listener that never accepts until its queue is full, and beyond.
func overflowListener(t *testing.T) float64 {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 1)); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		c, err := net.DialTimeout("tcp4", "127.0.0.1:7001", 100*time.Millisecond)
		if err == nil {
			defer c.Close()
		}
	}
	return -1
}

// dropSegments loses what a client says until the client has said it again.
func dropSegments(t *testing.T) float64 {
	listener, err := net.Listen("tcp4", "127.0.0.1:7002")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	clients, servers := connect(t, listener, 1)
	before := nstat(t)["TcpRetransSegs"]
	mustRun(t, "nft", "add table inet lost; add chain inet lost in { type filter hook input priority 0; }; add rule inet lost in tcp dport 7002 drop")
	if _, err := clients[0].Write([]byte("again")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if nstat(t)["TcpRetransSegs"] == before {
			return errors.New("nothing was sent again")
		}
		return nil
	})
	mustRun(t, "nft", "delete table inet lost")
	if _, err := servers[0].Read(make([]byte, 5)); err != nil {
		t.Error(err)
	}
	return -1
}

// answerWithCookies has a listener answer every SYN with a cookie.
func answerWithCookies(t *testing.T) float64 {
	setSysctl(t, "net/ipv4/tcp_syncookies", "2")
	listener, err := net.Listen("tcp4", "127.0.0.1:7003")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	const n = 3
	connect(t, listener, n)
	setSysctl(t, "net/ipv4/tcp_syncookies", "1")
	return n
}

// fillReceiveBuffer sends to a socket that nobody reads.
func fillReceiveBuffer(t *testing.T) float64 {
	reader, err := net.ListenPacket("udp4", "127.0.0.1:7004")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.(*net.UDPConn).SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	sendTo(t, 7004, 100)
	return -1
}

// sendToNobody sends to a port on which nobody listens.
func sendToNobody(t *testing.T) float64 {
	sendTo(t, 7005, 7)
	return 7
}

func sendTo(t *testing.T, port, datagrams int) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range datagrams {
		if _, err := c.WriteTo(make([]byte, 1000), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
			t.Fatal(err)
		}
	}
}

// fillSendBuffer sends what the interface does not take for now, until the socket has no room.
func fillSendBuffer(t *testing.T) float64 {
	reader, err := net.ListenPacket("udp4", "127.0.0.1:7006") // of what the interface does take
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "1000000")
	refused := 0.0
	for range 50 {
		err := syscall.Sendto(fd, make([]byte, 1000), syscall.MSG_DONTWAIT, &syscall.SockaddrInet4{Port: 7006, Addr: [4]byte{127, 0, 0, 1}})
		if errors.Is(err, syscall.EAGAIN) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "tc", "qdisc", "del", "dev", "lo", "root")
	return refused
}

// setSysctl changes a setting of this network namespace.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPortsAreThoseThatTheKernelGives keeps ports back, and takes all that the kernel then gives.
func TestPortsAreThoseThatTheKernelGives(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	setSysctl(t, "net/ipv4/ip_local_port_range", "40000 40009")
	setSysctl(t, "net/ipv4/ip_local_reserved_ports", "1-100,40002-40009")
	given := 0.0
	for ; given < 11; given++ {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got := value(t, portRange); got != given || given != 2 {
		t.Errorf("%s = %v, and the kernel gave %v, want 2", portRange, got, given)
	}

	// A list that is too long for one read of a usual size, of which the kernel takes a page with each write.
	setSysctl(t, "net/ipv4/ip_local_port_range", "10001 60000")
	f, err := os.OpenFile("/proc/sys/net/ipv4/ip_local_reserved_ports", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for first := 10001; first < 60001; first += 1000 {
		var list []string
		for port := first; port < first+1000; port += 2 {
			list = append(list, strconv.Itoa(port))
		}
		if _, err := f.WriteString(strings.Join(list, ",") + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got := value(t, portRange); got != 25000 {
		t.Errorf("%s = %v, want 25000", portRange, got)
	}
}

// TestConntrack tracks connections in a network namespace of the test's own.
func TestConntrack(t *testing.T) {
	if text(t, "/proc/sys/net/netfilter/nf_conntrack_max") == "" {
		t.Skip("this kernel does not track connections")
	}
	needTool(t, "nft")
	if !inNamespace(t, socktally) {
		return
	}
	if got := value(t, conntrackCount); got != 0 {
		t.Errorf("%s = %v in a namespace in which nothing is tracked", conntrackCount, got)
	}
	mustRun(t, "nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in ct state established accept")
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	connect(t, listener, n)
	limit := value(t, conntrackLimit)
	if got := value(t, conntrackCount); got != n || limit <= 0 {
		t.Errorf("%s = %v and %s = %v, want %v connections", conntrackCount, got, conntrackLimit, limit, n)
	}
	if got := value(t, conntrackRatio); got != n/limit {
		t.Errorf("%s = %v, want %v", conntrackRatio, got, n/limit)
	}
}
