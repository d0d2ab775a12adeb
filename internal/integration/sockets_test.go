package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inNamespace runs the calling test again as a process in a network namespace of its own, where
// nothing else opens a socket. It returns true in that process and false, with the result taken
// over, outside of it. The namespace has no name and ends with the process.
func inNamespace(t *testing.T, needed ...string) bool {
	t.Helper()
	if os.Getenv(namespaceVar) == t.Name() {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return true
	}
	if os.Geteuid() != 0 {
		skip(t, "needs root, for a network namespace of its own")
	}
	needTool(t, "ip")
	for _, name := range needed {
		binary(t, name)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceVar+"="+t.Name(), binariesVar+"="+binaries)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("in a network namespace:\n%s", out)
	if err != nil {
		t.Error(err)
	} else if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Error("the test did not run there")
	}
	return false
}

// value returns one metric of a reading.
func value(t *testing.T, name string) float64 {
	t.Helper()
	found := find(stdoutPoints(t), name)
	if len(found) != 1 {
		t.Fatalf("%s came %d times", name, len(found))
	}
	return found[0].Value
}

// settle waits until the kernel has freed the sockets of what ran before, which it does later.
func settle(t *testing.T) {
	t.Helper()
	same, last := 0, -1.0
	eventually(t, func() error {
		const name = "sockstat.sockets.used"
		used := kernel(t)[name]
		if same++; used != last {
			same, last = 0, used
		}
		if same < 10 {
			return fmt.Errorf("%s is still changing: %v", name, used)
		}
		return nil
	})
}

func TestSocketsAreCounted(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	settle(t)
	tcp, udp, used := value(t, "sockstat.tcp.inuse"), value(t, "sockstat.udp.inuse"), value(t, "sockstat.sockets.used")
	if tcp != 1 || udp != 0 {
		t.Errorf("one listener is open, but tcp.inuse = %v and udp.inuse = %v", tcp, udp)
	}

	clients, servers := connect(t, listener, 100) // 200 sockets
	for range 50 {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for name, want := range map[string]float64{
		"sockstat.tcp.inuse": tcp + 200, "sockstat.udp.inuse": udp + 50, "sockstat.sockets.used": used + 250,
	} {
		if got := value(t, name); got != want {
			t.Errorf("with 200 TCP and 50 UDP sockets more %s = %v, want %v", name, got, want)
		}
	}
	checkStdout(t, nil)
	checkStdout(t, wholeKernel(), "SOCKTALLY_SCOPE=netns")

	// Whoever closes first is in TIME_WAIT for a minute.
	const closed = 30
	for i := range closed {
		clients[i].Close()
		for b := make([]byte, 1); ; { // the end of the stream: the client's FIN is here
			if _, err := servers[i].Read(b); err != nil {
				break
			}
		}
		servers[i].Close()
	}
	eventually(t, func() error {
		if tw := value(t, "sockstat.tcp.tw"); tw != closed {
			return fmt.Errorf("%d connections were closed, but tcp.tw = %v", closed, tw)
		}
		return nil
	})
	if got, want := value(t, "sockstat.tcp.inuse"), tcp+200-2*closed; got != want {
		t.Errorf("with %d connections closed tcp.inuse = %v, want %v", closed, got, want)
	}
	// Each namespace has its own limit of TIME_WAIT sockets.
	if ratio := value(t, "sockstat.tcp.tw_ratio"); ratio <= 0 || ratio >= 1 {
		t.Errorf("tcp.tw_ratio = %v", ratio)
	}
}

// TestOrphansAreCounted makes sockets that no process holds and whose data nobody takes. They are
// counted for the whole kernel, so that others may come and go meanwhile.
func TestOrphansAreCounted(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const orphans = 50
	clients, servers := connect(t, listener, orphans)
	before, memory := value(t, "sockstat.tcp.orphan"), value(t, "sockstat.tcp.mem")
	for _, c := range clients {
		if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 256<<10); ; { // until the server's buffer is full
			if _, err := c.Write(b); err != nil {
				break
			}
		}
		c.Close()
	}
	got, mem := value(t, "sockstat.tcp.orphan"), value(t, "sockstat.tcp.mem")
	if got < before+orphans*9/10 {
		t.Errorf("%d orphans were made, but tcp.orphan went from %v to %v", orphans, before, got)
	}
	if mem <= memory {
		t.Errorf("%d sockets hold data, but tcp.mem went from %v to %v KiB", orphans, memory, mem)
	}
	t.Logf("tcp.orphan %v -> %v, tcp.mem %v -> %v KiB", before, got, memory, mem)
	checkStdout(t, nil)
	for _, s := range servers {
		s.(*net.TCPConn).SetLinger(0)
		s.Close()
	}
}

// connect makes n connections to a listener of this process.
func connect(t *testing.T, l net.Listener, n int) (clients, servers []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); s.Close() })
		clients, servers = append(clients, c), append(servers, s)
	}
	return clients, servers
}

// TestReceiverInANamespace sends by UDP and by a unix socket where nothing but the test runs.
func TestReceiverInANamespace(t *testing.T) {
	if !inNamespace(t, socktally, statsdExporter) {
		return
	}
	e := newExporter(t, "127.0.0.1").start(t)
	checkExporter(t, e, nil)
	u := newUnixgramExporter(t).start(t)
	checkExporter(t, u, wholeKernel(), "SOCKTALLY_SCOPE=netns")
}
