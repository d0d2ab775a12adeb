package flows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"socktally/record"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openFor opens a Counter that the test's end closes. A kernel that refuses the tracer skips.
func openFor(t testing.TB, o Options) *Counter {
	t.Helper()
	needPrivilege(t)
	c, err := Open(o)
	if err != nil {
		lacks(t, "a kernel that lets it count: "+err.Error())
	}
	wantNoRefusal(t, c, o.refuse)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// wantNoRefusal fails the test where the kernel found a fault with a program, and says what it does not allow
// at all: there, the next best way is tested.
func wantNoRefusal(t testing.TB, c *Counter, forced refuser) {
	t.Helper()
	for _, cover := range c.Coverage() {
		for _, r := range cover.Refused {
			switch {
			case forced[r.Name] != nil || r.Reason == ReasonSockDiag || r.Reason == ReasonCgroup:
			case r.Reason == ReasonOther && errors.Is(r.Err, unix.EPERM):
				t.Logf("this kernel does not allow %v", r)
			default:
				t.Errorf("%s: %v", cover.Part, r)
			}
		}
	}
}

// refusalOf is why a part is not counted in the best way, nil where it is.
func refusalOf(c *Counter, part Part) error {
	if cover := c.coverage.of(part); cover != nil && len(cover.Refused) > 0 {
		return cover.Refused[0]
	}
	return nil
}

// openIn opens a Counter on a thread in the namespace.
func openIn(t testing.TB, ns *namespace, o Options) *Counter {
	t.Helper()
	var c *Counter
	ns.do(func() (err error) {
		c, err = Open(o)
		return err
	})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// namespace is a network namespace without a name: it goes when the test does.
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
			// A namespace that no process is in would be hard to find for anybody.
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

func port(l net.Listener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// exchange serves every connection: it reads up bytes, or to the end for up < 0, and answers down.
func exchange(l net.Listener, down int64) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(io.Discard, c)
			io.CopyN(c, zeros{}, down)
		}()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// tallyUntil tallies until the flows to the port have as many closed and failed connections as
// wanted, and returns the sum and the records.
func tallyUntil(t testing.TB, c *Counter, port uint16, ended uint64) (record.Counters, []record.Flow) {
	t.Helper()
	var sum record.Counters
	var records []record.Flow
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got, err := c.Tally(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if r.Server.Port == port {
				records = append(records, r)
				sum = plus(sum, r.Counters)
			}
		}
		if n := sum.Closed + sum.Refusals + sum.Timeouts + sum.Unreachables; n >= ended {
			return sum, records
		}
		if time.Now().After(deadline) {
			losses, err := c.Losses()
			t.Fatalf("port %d: want %d connections ended, got %+v; losses %+v, %v", port, ended, sum, losses, err)
		}
	}
}

func plus(a, b record.Counters) record.Counters {
	a.BytesSentByClient += b.BytesSentByClient
	a.BytesSentByServer += b.BytesSentByServer
	a.PacketsSentByClient += b.PacketsSentByClient
	a.PacketsSentByServer += b.PacketsSentByServer
	a.Retransmits += b.Retransmits
	a.Established += b.Established
	a.Closed += b.Closed
	a.Refusals += b.Refusals
	a.Resets += b.Resets
	a.Timeouts += b.Timeouts
	a.Unreachables += b.Unreachables
	return a
}

// outcome is the part of the counters that a test knows beforehand.
type outcome struct {
	Up, Down                                 uint64
	Established, Closed                      uint64
	Refusals, Resets, Timeouts, Unreachables uint64
}

func outcomeOf(c record.Counters) outcome {
	return outcome{c.BytesSentByClient, c.BytesSentByServer, c.Established, c.Closed,
		c.Refusals, c.Resets, c.Timeouts, c.Unreachables}
}

func wantOutcome(t testing.TB, got record.Counters, want outcome) {
	t.Helper()
	if o := outcomeOf(got); o != want {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
}

func wantNoLosses(t testing.TB, c *Counter) {
	t.Helper()
	if l, err := c.Losses(); err != nil || l != (Losses{}) {
		t.Errorf("losses %+v, %v", l, err)
	}
}

func addrPort(ip string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port).String()
}
