package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"socktally/flows/coverage"
	"socktally/record"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

func TestUDPIsExact(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	for _, tc := range []struct {
		name, listen, dial, clientIP string
		from, to                     *namespace
		family                       string
	}{
		{"ipv4", serverIPv4, serverIPv4, clientIPv4, client, server, "ipv4"},
		{"ipv6", serverIPv6, serverIPv6, clientIPv6, client, server, "ipv6"},
		{"mapped server", "::", serverIPv4, clientIPv4, client, server, "ipv4"},
		{"loopback", "127.0.0.1", "127.0.0.1", "127.0.0.1", client, client, "ipv4"},
		{"loopback ipv6", "::1", "::1", "::1", client, client, "ipv6"},
		{"one address", serverIPv4, serverIPv4, serverIPv4, server, server, "ipv4"},
	} {
		for _, connected := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/connected=%v", tc.name, connected), func(t *testing.T) {
				s := tc.to.listenUDP("udp", addrPort(tc.listen, 0))
				var counted talk
				go answer(s, &counted)
				to := netip.AddrPortFrom(netip.MustParseAddr(tc.dial), udpPort(s))
				var c *net.UDPConn
				if connected {
					c = tc.from.dialUDP("udp", to.String())
					to = netip.AddrPort{}
				} else {
					c = tc.from.listenUDP("udp", addrPort(tc.clientIP, 0))
				}
				for _, up := range []int{2, 3, 1452, 1453, 1472, 1473, 9000, 65487} {
					for _, down := range []int{0, up, 1} {
						if err := ask(c, to, up, down); err != nil {
							t.Fatal(err)
						}
					}
				}
				sum, records := tallyUDP(t, counter, udpPort(s))
				if want := counted.counters(); sum != want {
					t.Errorf("got  %+v\nwant %+v", sum, want)
				}
				if len(records) != 1 {
					t.Fatalf("%d records: %+v", len(records), records)
				}
				r := records[0]
				if r.Client.Addr.String() != tc.clientIP || r.Server.Addr.String() != tc.dial || r.Client.Port != 0 ||
					r.Family != tc.family || r.Direction != record.Local {
					t.Errorf("got %+v", r)
				}
				for _, owner := range []record.Owner{r.Client.Owner, r.Server.Owner} {
					if owner.PID != uint32(os.Getpid()) || owner.Process == "" || owner.NetNS == 0 {
						t.Errorf("owner %+v", owner)
					}
				}
				if sum, records := tallyUDP(t, counter, udpPort(s)); len(records) != 0 {
					t.Errorf("nothing happened: %+v", sum)
				}
			})
		}
	}
	wantNoLosses(t, counter)
}

// One socket communicates with many peers, as in QUIC: as a server, as a client, and as both.
func TestUDPManyPeers(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	hub := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	var asHub talk
	go answer(hub, &asHub)
	for range 200 {
		c := client.dialUDP("udp4", hub.LocalAddr().String())
		if err := ask(c, netip.AddrPort{}, 10, 20); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	sum, records := tallyUDP(t, counter, udpPort(hub))
	if want := asHub.counters(); sum != want || len(records) != 1 || sum.PacketsSentByClient != 200 {
		t.Errorf("%d records, got %+v, want %+v", len(records), sum, want)
	}

	// A socket is the server for some peers and the client for others.
	var asServers talk
	relay := client.listenUDP("udp4", addrPort(clientIPv4, 0))
	caller := server.dialUDP("udp4", relay.LocalAddr().String())
	if _, err := caller.Write(make([]byte, 33)); err != nil {
		t.Fatal(err)
	}
	relay.Read(make([]byte, 100))
	ports := []uint16{}
	for range 50 {
		s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
		go answer(s, &asServers)
		ports = append(ports, udpPort(s))
		if err := ask(relay, netip.AddrPortFrom(netip.MustParseAddr(serverIPv4), udpPort(s)), 100, 50); err != nil {
			t.Fatal(err)
		}
	}
	sum, records = tallyUDP(t, counter, append(ports, udpPort(relay))...)
	want := asServers.counters()
	want.BytesSentByClient += 33
	want.PacketsSentByClient++
	if sum != want || len(records) != 51 {
		t.Errorf("%d records, got %+v, want %+v", len(records), sum, want)
	}
	wantNoLosses(t, counter)
}

// Tallies run while datagrams go, and the table has no room: no datagram is counted twice or lost.
func TestUDPIsExactWhileTallied(t *testing.T) {
	for name, maxFlows := range map[string]int{"roomy": 0, "table too small": 1} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			counter := openIn(t, ns, Options{Mode: EBPF, Scope: NetNS, MaxFlows: maxFlows})
			needUDP(t, counter)
			var sent talk
			var senders sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				s := ns.listenUDP("udp4", "127.0.0.1:0")
				c := ns.dialUDP("udp4", s.LocalAddr().String())
				go answer(s, new(talk))
				senders.Go(func() {
					for n := 2; ; n = n%1000 + 2 {
						select {
						case <-stop:
							return
						default:
						}
						if err := ask(c, netip.AddrPort{}, n, 7); err != nil {
							t.Error(err)
							return
						}
						sent.bytesUp.Add(uint64(n))
						sent.packetsUp.Add(1)
						sent.bytesDown.Add(7)
						sent.packetsDown.Add(1)
					}
				})
			}
			var sum record.Counters
			tally := func() {
				records, err := counter.Tally(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range records {
					sum = plus(sum, r.Counters)
				}
			}
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
				tally()
			}
			close(stop)
			senders.Wait()
			tally()
			if want := sent.counters(); sum != want {
				t.Errorf("got  %+v\nwant %+v", sum, want)
			}
			t.Logf("%d datagrams", sum.PacketsSentByClient+sum.PacketsSentByServer)
			losses, err := counter.Losses()
			if small := maxFlows == 1; err != nil || small == (losses.TableFull == 0) {
				t.Errorf("losses %+v, %v", losses, err)
			}
			losses.TableFull = 0
			if losses != (coverage.Losses{}) {
				t.Errorf("losses %+v", losses)
			}
		})
	}
}

// More is sent than the receiver takes: what it drops was received by the host.
func TestUDPFlood(t *testing.T) {
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	c := client.dialUDP("udp4", s.LocalAddr().String())
	const n, size = 100_000, 128
	for range n {
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	sum, _ := tallyUDP(t, counter, udpPort(s))
	if want := (record.Counters{BytesSentByClient: n * size, PacketsSentByClient: n}); sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
}

// A Counter of one namespace sees only the end there. The direction of the flow follows from that end.
func TestUDPScope(t *testing.T) {
	client, server := newWire(t)
	atClient := openIn(t, client, Options{Mode: EBPF, Scope: NetNS})
	atServer := openIn(t, server, Options{Mode: EBPF, Scope: NetNS})
	needUDP(t, atClient)
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	var counted talk
	go answer(s, &counted)
	c := client.dialUDP("udp4", s.LocalAddr().String())
	for range 100 {
		if err := ask(c, netip.AddrPort{}, 40, 60); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		counter *Counter
		want    record.Direction
	}{{atClient, record.Outgoing}, {atServer, record.Incoming}} {
		sum, records := tallyUDP(t, tc.counter, udpPort(s))
		if want := counted.counters(); sum != want || len(records) != 1 || records[0].Direction != tc.want {
			t.Errorf("%s: got %+v", tc.want, records)
		}
	}
	elsewhere := openIn(t, newNamespace(t), Options{Mode: EBPF, Scope: NetNS})
	if err := ask(c, netip.AddrPort{}, 40, 60); err != nil {
		t.Fatal(err)
	}
	if records, err := elsewhere.Tally(context.Background()); err != nil || len(records) != 0 {
		t.Errorf("got %+v, %v", records, err)
	}
}

// childSend sends the given number of datagrams of 10 bytes and ends.
func childSend(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	for range n {
		if _, err := c.Write(make([]byte, 10)); err != nil {
			return err
		}
	}
	return nil
}

// A process that ends before the tally is still known.
func TestUDPProcessDeath(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openUDPFor(t, Options{Mode: EBPF})
	s := server.listenUDP("udp4", addrPort(serverIPv4, 0))
	cmd, _ := client.child("send", nil, s.LocalAddr().String(), "25")
	cmd.Wait()
	sum, records := tallyUDP(t, counter, udpPort(s))
	if sum.BytesSentByClient != 250 || len(records) != 1 {
		t.Fatalf("got %+v", records)
	}
	owner := records[0].Client.Owner
	if owner.PID != uint32(cmd.Process.Pid) || !strings.HasPrefix(filepath.Base(os.Args[0]), owner.Process) {
		t.Errorf("owner %+v", owner)
	}
}

func TestUDPLeavesNothing(t *testing.T) {
	needPrivilege(t)
	root := cgroup2(t)
	attached := func() (n [3]int) {
		f, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i, where := range []ebpf.AttachType{ebpf.AttachCGroupInetSockCreate, ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress} {
			result, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: where})
			if err != nil {
				t.Fatal(err)
			}
			n[i] = len(result.Programs)
		}
		return n
	}
	before := attached()
	c := openUDPFor(t, Options{Mode: EBPF})
	for i, n := range attached() {
		if n != before[i]+1 {
			t.Errorf("%d programs, %d before", n, before[i])
		}
	}
	c.Close()
	if after := attached(); after != before {
		t.Errorf("programs: %v before, %v after", before, after)
	}
}

func TestUDPIsLeftOut(t *testing.T) {
	c := openFor(t, Options{Mode: EBPF, NoUDP: true})
	if c.udp != nil || c.report.Of(coverage.UDP) != nil {
		t.Errorf("UDP is counted, or refused: %v", c.Coverage())
	}
	// A process that sees no cgroup v2 hierarchy.
	proc := t.TempDir()
	write(t, filepath.Join(proc, "self/mountinfo"), "22 1 8:1 / / rw - ext4 /dev/root rw\n")
	c = openFor(t, Options{Mode: EBPF, Proc: proc})
	var refusal *coverage.LoadError
	if err := loadErrorOf(c, coverage.UDP); !errors.As(err, &refusal) || refusal.Reason != coverage.ReasonCgroup {
		t.Errorf("got %v", err)
	}
	if _, err := c.Tally(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestUDPRecordJSON(t *testing.T) {
	text, err := json.Marshal(record.Flow{
		Protocol: "udp", Server: record.Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		Counters: record.Counters{BytesSentByClient: 3, PacketsSentByServer: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"protocol":"udp"`, `"bytes_sent_by_client":3`, `"packets_sent_by_server":4`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Contains(string(text), "tcp_") || strings.Contains(string(text), "rtt_") {
		t.Errorf("%s has what only TCP has", text)
	}
}
