package flows

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func (ns *namespace) listenerFile(l net.Listener) *os.File {
	ns.t.Helper()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		ns.t.Fatal(err)
	}
	ns.t.Cleanup(func() { f.Close() })
	return f
}

// Several processes accept from one inherited listener. The owner is the process that called listen.
func TestInheritedListener(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	f := server.listenerFile(l)
	for range 3 {
		_, out := server.child("serve", []*os.File{f}, "100")
		if _, err := out.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	for range 30 {
		upload(t, client.dial("tcp4", l.Addr().String()), 10)
	}
	sum, records := tallyUntil(t, counter, port(l), 30)
	wantOutcome(t, sum, outcome{Up: 300, Down: 3000, Established: 30, Closed: 30})
	for _, r := range records {
		if r.Server.Owner.PID != uint32(os.Getpid()) {
			t.Errorf("got %+v", r)
		}
	}
}

// Several sockets listen at one port.
func TestReusePort(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); e != nil {
			return e
		}
		return err
	}}
	address := addrPort(serverIPv4, 0)
	for range 3 {
		server.do(func() error {
			l, err := config.Listen(context.Background(), "tcp4", address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			address = l.Addr().String()
			go exchange(l, 3)
			return nil
		})
	}
	for range 50 {
		upload(t, client.dial("tcp4", address), 4)
	}
	_, text, _ := strings.Cut(address, ":")
	var p uint16
	fmt.Sscan(text, &p)
	sum, _ := tallyUntil(t, counter, p, 50)
	wantOutcome(t, sum, outcome{Up: 200, Down: 150, Established: 50, Closed: 50})
}

// A process that ends before the tally is still known, and what it sent is counted.
func TestProcessDeath(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 0)
	cmd, _ := client.child("die", nil, l.Addr().String(), "123456")
	cmd.Wait()
	sum, records := tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Up: 123456, Established: 1, Closed: 1})
	owner := records[0].Client.Owner
	if owner.PID != uint32(cmd.Process.Pid) || !strings.HasPrefix(filepath.Base(os.Args[0]), owner.Process) {
		t.Errorf("owner %+v", owner)
	}
}

// sendfile and splice do not use send().
func TestSendfileAndSplice(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 0)
	const n = 3<<20 + 1
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	c := client.dial("tcp4", l.Addr().String())
	if _, err := c.ReadFrom(f); err != nil { // sendfile
		t.Fatal(err)
	}
	relay := server.listen("tcp4", addrPort(serverIPv4, 0))
	go func() {
		from, err := relay.Accept()
		if err != nil {
			return
		}
		io.Copy(c, from) // splice
		c.CloseWrite()
		from.Close()
	}()
	upload(t, client.dial("tcp4", relay.Addr().String()), n)
	sum, _ := tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Up: 2 * n, Established: 1, Closed: 1})
}

// The name of a cgroup that is removed before the tally is known, and so is the container.
func TestContainerThatIsGone(t *testing.T) {
	needPrivilege(t)
	root := cgroup2(t)
	id := strings.Repeat("0123456789abcdef", 4)
	group := filepath.Join(root, "docker-"+id+".scope")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 0)
	client.command("", "sh", "-c", fmt.Sprintf("(echo 0 > %s/cgroup.procs; %s=die exec %s %s 10); true",
		group, childEnv, os.Args[0], l.Addr()))
	await(t, func() error { return os.Remove(group) })
	_, records := tallyUntil(t, counter, port(l), 1)
	if got := records[0].Client.Owner.ContainerID; got != id {
		t.Errorf("owner %+v", records[0].Client.Owner)
	}
}

// Starting and stopping leaves nothing behind.
func TestNothingIsLeft(t *testing.T) {
	needPrivilege(t)
	openFor(t, Options{Mode: EBPF}).Close() // what the runtime opens once
	before := held(t)
	for range 100 {
		c, err := Open(Options{Mode: EBPF})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Tally(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Tally(context.Background()); err == nil {
			t.Fatal("a closed Counter tallies")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() error {
		if after := held(t); after != before {
			return fmt.Errorf("descriptors and goroutines: %v before, %v after", before, after)
		}
		return nil
	})
}

// held is how many descriptors and goroutines the process has. Maps, programs and links live only
// as long as a descriptor or one another do.
func held(t *testing.T) [2]int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return [2]int{len(fds), runtime.NumGoroutine()}
}
