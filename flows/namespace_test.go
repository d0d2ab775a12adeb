package flows

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name. It ends with the test.
type namespace struct {
	t  testing.TB
	fd int
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	needPrivilege(t)
	ns := &namespace{t: t}
	var inhabitant *exec.Cmd
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- func() (err error) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			if err := linkUp("lo"); err != nil {
				return err
			}
			// A Counter finds a namespace by a process in it.
			inhabitant = exec.Command("sleep", "3600")
			return inhabitant.Start()
		}()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		inhabitant.Process.Kill()
		inhabitant.Wait()
		unix.Close(ns.fd)
	})
	return ns
}

// do runs f on a thread in the namespace. Sockets made there stay there.
func (ns *namespace) do(f func() error) {
	ns.t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	if err := <-result; err != nil {
		ns.t.Fatal(err)
	}
}

func (ns *namespace) listen(network, address string) net.Listener {
	ns.t.Helper()
	var l net.Listener
	ns.do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	ns.t.Cleanup(func() { l.Close() })
	return l
}

func (ns *namespace) dial(network, address string) *net.TCPConn {
	ns.t.Helper()
	var c net.Conn
	ns.do(func() (err error) {
		c, err = net.DialTimeout(network, address, patience)
		return err
	})
	ns.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// command runs a program in the namespace to its end.
func (ns *namespace) command(stdin, name string, args ...string) string {
	ns.t.Helper()
	needProgram(ns.t, name)
	var out []byte
	ns.do(func() (err error) {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return err
	})
	return string(out)
}

func (ns *namespace) nft(rules string) { ns.t.Helper(); ns.command(rules, "nft", "-f", "-") }

func (ns *namespace) sysctl(name, value string) {
	ns.t.Helper()
	ns.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0) })
}

// newerSysctl is sysctl where the kernel has it.
func (ns *namespace) newerSysctl(name, value string) {
	ns.t.Helper()
	if _, err := os.Stat("/proc/sys/net/ipv4/" + name); err == nil {
		ns.sysctl(name, value)
	}
}

// snmp reads a counter of the namespace's own statistics.
func (ns *namespace) snmp(column string) uint64 {
	ns.t.Helper()
	var text []byte
	ns.do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == column {
				n, _ := strconv.ParseUint(fields[i], 10, 64)
				return n
			}
		}
	}
	ns.t.Fatalf("no column %s in snmp", column)
	return 0
}

// Two hosts on one wire.
const (
	clientIPv4, serverIPv4 = "10.99.0.1", "10.99.0.2"
	clientIPv6, serverIPv6 = "fd99::1", "fd99::2"
)

func newWire(t testing.TB) (client, server *namespace) {
	t.Helper()
	client, server = newNamespace(t), newNamespace(t)
	client.do(func() error {
		veth := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: "c"},
			PeerName:      "s",
			PeerNamespace: netlink.NsFd(server.fd),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return address6And4("c", clientIPv4, clientIPv6)
	})
	server.do(func() error { return address6And4("s", serverIPv4, serverIPv6) })
	return client, server
}

func address6And4(name, v4, v6 string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range []string{v4 + "/24", v6 + "/64"} {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	return linkUp(name)
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
