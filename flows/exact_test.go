package flows

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"socktally/flows/coverage"
	"socktally/record"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// upload sends up bytes, half-closes, reads the answer to its end and closes.
func upload(t testing.TB, c *net.TCPConn, up int64) int64 {
	t.Helper()
	if _, err := io.CopyN(c, zeros{}, up); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return n
}

func TestBytesAreExact(t *testing.T) {
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	sizes := []int64{0, 1, 2, 1447, 1448, 1449, 65535, 65536, 1 << 20, 1<<20 + 1, 1 << 26}
	if !testing.Short() {
		sizes = append(sizes, 1<<30)
	}
	for _, n := range sizes {
		for _, m := range []int64{0, n, 3} {
			t.Run(fmt.Sprintf("up=%d/down=%d", n, m), func(t *testing.T) {
				l := server.listen("tcp4", addrPort(serverIPv4, 0))
				go exchange(l, m)
				if got := upload(t, client.dial("tcp4", l.Addr().String()), n); got != m {
					t.Fatalf("the answer has %d bytes, want %d", got, m)
				}
				sum, _ := tallyUntil(t, counter, port(l), 1)
				wantOutcome(t, sum, outcome{Up: uint64(n), Down: uint64(m), Established: 1, Closed: 1})
			})
		}
	}
	wantNoLosses(t, counter)
}

func TestAddresses(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	for _, tc := range []struct {
		name, network, listen, dial string
		from, to                    *namespace
		family, clientIP, serverIP  string
	}{
		{"ipv4", "tcp4", serverIPv4, serverIPv4, client, server, "ipv4", clientIPv4, serverIPv4},
		{"ipv6", "tcp6", serverIPv6, serverIPv6, client, server, "ipv6", clientIPv6, serverIPv6},
		{"mapped server", "tcp", "::", serverIPv4, client, server, "ipv4", clientIPv4, serverIPv4},
		{"loopback", "tcp4", "127.0.0.1", "127.0.0.1", client, client, "ipv4", "127.0.0.1", "127.0.0.1"},
		{"loopback ipv6", "tcp6", "::1", "::1", client, client, "ipv6", "::1", "::1"},
		{"one address", "tcp4", serverIPv4, serverIPv4, server, server, "ipv4", serverIPv4, serverIPv4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := tc.to.listen(tc.network, addrPort(tc.listen, 0))
			go exchange(l, 2000)
			upload(t, tc.from.dial("tcp", addrPort(tc.dial, port(l))), 1000)
			sum, records := tallyUntil(t, counter, port(l), 1)
			wantOutcome(t, sum, outcome{Up: 1000, Down: 2000, Established: 1, Closed: 1})
			for _, r := range records {
				if r.Client.Addr != netip.MustParseAddr(tc.clientIP) || r.Server.Addr != netip.MustParseAddr(tc.serverIP) ||
					r.Client.Port != 0 || r.Family != tc.family || r.Direction != record.Local {
					t.Errorf("got %+v", r)
				}
				for _, owner := range []record.Owner{r.Client.Owner, r.Server.Owner} {
					if owner.PID != uint32(os.Getpid()) || owner.Process == "" {
						t.Errorf("owner %+v", owner)
					}
				}
			}
		})
	}
}

// An IPv6 socket that connects to an IPv4-mapped IPv6 address uses IPv4.
func TestMappedClient(t *testing.T) {
	ns := newNamespace(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := ns.listen("tcp4", "127.0.0.1:0")
	go exchange(l, 5)
	ns.do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		to := &unix.SockaddrInet6{Port: int(port(l)), Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
		if err := unix.Connect(fd, to); err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		f.Write(make([]byte, 7))
		unix.Shutdown(fd, unix.SHUT_WR)
		_, err = io.Copy(io.Discard, f)
		return err
	})
	sum, records := tallyUntil(t, counter, port(l), 1)
	wantOutcome(t, sum, outcome{Up: 7, Down: 5, Established: 1, Closed: 1})
	if records[0].Family != "ipv4" || records[0].Client.Addr.String() != "127.0.0.1" {
		t.Errorf("got %+v", records[0])
	}
}

// churn makes connections of a few bytes from several goroutines for a while, with tallies at the same time. It returns the
// number of connections.
func churn(t *testing.T, ns *namespace, l net.Listener, d time.Duration, tally func()) uint64 {
	t.Helper()
	go answerShort(l, 7)
	var made atomic.Uint64
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		workers.Go(func() {
			ns.do(func() error {
				for {
					select {
					case <-stop:
						return nil
					default:
					}
					if err := oneShort(l.Addr().String()); err != nil {
						return err
					}
					made.Add(1)
				}
			})
		})
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		tally()
	}
	close(stop)
	workers.Wait()
	return made.Load()
}

// answerShort is the other end of oneShort: it reads 16 bytes and answers with down.
func answerShort(l net.Listener, down int) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var b [16]byte
			io.ReadFull(c, b[:])
			c.Write(b[:down])
		}()
	}
}

func oneShort(address string) error {
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return err
	}
	defer c.Close()
	var b [16]byte
	if _, err := c.Write(b[:]); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

// Tallies run all the time, so that many walks and closes run at the same moment.
func TestChurnIsExact(t *testing.T) {
	for name, maxFlows := range map[string]int{"roomy": 0, "table too small": 1} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			ns.sysctl("tcp_tw_reuse", "1")
			ns.sysctl("ip_local_port_range", "1024 65535")
			counter := openIn(t, ns, Options{Mode: EBPF, Scope: NetNS, MaxFlows: maxFlows})
			l, other := ns.listen("tcp4", "127.0.0.1:0"), ns.listen("tcp4", "127.0.0.1:0")
			go answerShort(other, 0)
			var sum record.Counters
			var others uint64
			tally := func() {
				records, err := counter.Tally(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range records {
					sum = plus(sum, r.Counters)
				}
			}
			made := churn(t, ns, l, churnTime(), func() {
				// A second flow, for which the small table has no room.
				ns.do(func() error { return oneShort(other.Addr().String()) })
				others++
				tally()
			})
			ns.awaitEnd(port(l))
			ns.awaitEnd(port(other))
			tally()
			t.Logf("%d connections", made)
			all := made + others
			wantOutcome(t, sum, outcome{Up: 16 * all, Down: 7 * made, Established: all, Closed: all})
			losses, err := counter.Losses()
			if err != nil {
				t.Fatal(err)
			}
			if small := maxFlows == 1; small == (losses.TableFull == 0) {
				t.Errorf("losses %+v", losses)
			}
			losses.TableFull = 0
			if losses != (coverage.Losses{}) {
				t.Errorf("losses %+v", losses)
			}
		})
	}
}

func churnTime() time.Duration {
	if os.Getenv("SOCKTALLY_TEST_LONG") == "1" {
		return time.Minute
	}
	return 3 * time.Second
}
