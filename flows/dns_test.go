package flows

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"socktally/record"
	"strings"
	"testing"
	"time"
)

// The counts are the same as in the statistics of the server and of the client.
func TestDNSAgainstDnsmasq(t *testing.T) {
	client, server := newWire(t)
	answered := server.dnsmasq(serverIPv4)
	counter := openUDPFor(t, Options{Mode: EBPF})
	portions := 100
	if testing.Short() {
		portions = 5
	}
	const times = 250
	perf := client.dnsperf("yes.invalid A\nYES.invalid AAAA\na.no.invalid A\nelsewhere.invalid A\n", portions, times, []*Counter{counter},
		"-c", "20", "-q", "50")
	each := uint64(portions * times)
	sums, records := tallyDNS(t, counter, serverIPv4)
	var all record.DNSCounts
	for _, s := range sums {
		all.Requests += s.Requests
		all.Successes += s.Successes
		all.NXDomain += s.NXDomain
		all.OtherFailures += s.OtherFailures
	}
	if atServer := answered(); all.Requests != 4*each || all.Requests != perf["Queries sent"] || all.Requests != atServer {
		t.Errorf("%d requests of %d; the client counts %d, the server %d", all.Requests, 4*each, perf["Queries sent"], atServer)
	}
	lost := perf["Queries sent"] - perf["Queries completed"]
	for code, got := range map[string]uint64{
		"NOERROR": all.Successes, "NXDOMAIN": all.NXDomain, "REFUSED": all.OtherFailures,
	} {
		// An answer that dnsperf takes for lost came all the same: the server counts it.
		if got < perf[code] || got-perf[code] > lost || got == 0 {
			t.Errorf("%s: %d, the client counts %d and %d lost", code, got, perf[code], lost)
		}
	}
	if responses := all.Successes + all.NXDomain + all.OtherFailures; responses != all.Requests {
		t.Errorf("%d responses to %d requests", responses, all.Requests)
	}
	for _, name := range []string{"yes.invalid A", "yes.invalid AAAA", "a.no.invalid A", "elsewhere.invalid A"} {
		if got := sums[name].Requests; got != each {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, r := range records {
		if r.Client.Owner.Process != "dnsperf" {
			t.Errorf("got %+v", r)
		}
	}
	wantNoLosses(t, counter)
}

// Queries of dig over IPv4 and IPv6, with and without EDNS. The test checks the owner of the server, and the domain of a
// flow to the address in an answer.
func TestDNSWithDig(t *testing.T) {
	needProgram(t, "dig")
	client, server := newWire(t)
	server.dnsmasq(serverIPv4, serverIPv6)
	counter := openUDPFor(t, Options{Mode: EBPF})
	for _, at := range []string{serverIPv4, serverIPv6} {
		for _, args := range [][]string{{"+noedns", "yes.invalid", "A"}, {"yes.invalid", "A"}, {"x.no.invalid", "MX"}, {"other.invalid", "TXT"}} {
			client.command("", "dig", append([]string{"@" + at, "+tries=1", "+time=60"}, args...)...)
		}
		sums, records := tallyDNS(t, counter, at)
		if s := sums["yes.invalid A"]; s.Requests != 2 || s.Successes != 2 {
			t.Errorf("%s: got %+v", at, s)
		}
		if s := sums["x.no.invalid MX"]; s.Requests != 1 || s.NXDomain != 1 {
			t.Errorf("%s: got %+v", at, s)
		}
		if s := sums["other.invalid TXT"]; s.Requests != 1 || s.OtherFailures != 1 {
			t.Errorf("%s: got %+v", at, s)
		}
		for _, r := range records {
			if !strings.HasPrefix(r.Client.Owner.Process, "dig") && !strings.HasPrefix(r.Client.Owner.Process, "isc") {
				t.Errorf("client %+v", r.Client)
			}
		}
	}
	// 192.0.2.1 was the answer for yes.invalid.
	client.command("", "ip", "route", "add", "192.0.2.1", "via", serverIPv4)
	c := client.dialUDP("udp4", "192.0.2.1:9")
	c.Write([]byte{1})
	_, records := tallyUDP(t, counter, 9)
	if len(records) != 1 || records[0].ServerDomain != "yes.invalid" {
		t.Errorf("got %+v", records)
	}
	// The owner of the server is known from the flows to it.
	client.command("", "dig", "@"+serverIPv4, "yes.invalid")
	tallyUDP(t, counter, 53)
	_, of := tallyDNS(t, counter, serverIPv4)
	if len(of) != 1 || of[0].Server.Owner.Process != "dnsmasq" {
		t.Errorf("got %+v", of)
	}
	wantNoLosses(t, counter)
}

// One query fails at the server. The answer to another one is too long for a datagram, so the client asks again over TCP.
func TestDNSFailureAndTruncation(t *testing.T) {
	needProgram(t, "dig")
	client, server := newWire(t)
	server.nsd(serverIPv4)
	counter := openUDPFor(t, Options{Mode: EBPF})
	client.command("", "dig", "@"+serverIPv4, "+tries=1", "+time=60", "fail.invalid")
	out := client.command("", "dig", "@"+serverIPv4, "+tries=1", "+time=60", "+noedns", "big.zone.invalid", "TXT")
	if !strings.Contains(out, "retrying in TCP mode") {
		t.Fatalf("dig did not go to TCP:\n%s", out)
	}
	sums, records := tallyDNS(t, counter, serverIPv4)
	if s := sums["fail.invalid A"]; s.Requests != 1 || s.ServFail != 1 {
		t.Errorf("got %+v", s)
	}
	protocols := make(map[string]int)
	for _, r := range records {
		if r.Name == "big.zone.invalid" && r.Requests == 1 && r.Successes == 1 {
			protocols[r.Protocol]++
		}
		if r.Protocol == "tcp" && (!strings.HasPrefix(r.Client.Owner.Process, "dig") && !strings.HasPrefix(r.Client.Owner.Process, "isc")) {
			t.Errorf("client %+v", r.Client)
		}
	}
	if len(records) != 3 || protocols["udp"] != 1 || protocols["tcp"] != 1 {
		t.Errorf("got %+v", records)
	}
	wantNoLosses(t, counter)
}

// Queries over TCP are counted once, if both ends are on this host and also if only the server is.
func TestDNSOverTCP(t *testing.T) {
	client, server := newWire(t)
	server.nsd(serverIPv4)
	everywhere, atServer := openUDPFor(t, Options{Mode: EBPF}), openIn(t, server, Options{Mode: EBPF, Scope: NetNS})
	const portions, times, rounds = 50, 50, 50 * 50
	perf := client.dnsperf("zone.invalid A\nno.zone.invalid AAAA\nbig.zone.invalid TXT\nelsewhere.invalid A\n", portions, times,
		[]*Counter{everywhere, atServer}, "-m", "tcp", "-c", "10", "-q", "50")
	if perf["Queries completed"] != 4*rounds {
		t.Fatalf("dnsperf counts %v", perf)
	}
	for where, counter := range map[string]*Counter{"everywhere": everywhere, "server": atServer} {
		sums, records := tallyDNS(t, counter, serverIPv4)
		for question, got := range sums {
			failures := uint64(rounds)
			if question == "zone.invalid A" || question == "big.zone.invalid TXT" {
				failures = 0
			}
			if got.Requests != rounds || got.FailedResponses() != failures || got.Successes != rounds-failures {
				t.Errorf("%s: %s: %+v", where, question, got)
			}
		}
		if len(sums) != 4 {
			t.Errorf("%s: %+v", where, sums)
		}
		for _, r := range records {
			if r.Protocol != "tcp" || (where == "everywhere" && r.Client.Owner.Process != "dnsperf") {
				t.Errorf("%s: %+v", where, r)
			}
		}
		wantNoLosses(t, counter)
	}
}

// Queries time out if nobody answers. The queries of a client on another host are seen at the server. The DNS ports are a
// setting.
func TestDNSTimeoutsPortsAndServers(t *testing.T) {
	client, server := newWire(t)
	options := Options{Mode: EBPF, Scope: NetNS, DNSPorts: []uint16{5300}, DNSTimeout: 3 * time.Second}
	atClient, atServer := openIn(t, client, options), openIn(t, server, options)
	needUDP(t, atClient)
	s := server.listenUDP("udp4", addrPort(serverIPv4, 5300))
	elsewhere := server.listenUDP("udp4", addrPort(serverIPv4, 53))
	c := client.dialUDP("udp4", s.LocalAddr().String())
	for id := range uint16(3) {
		c.Write(query(t, id, "q.invalid."))
		buffer := make([]byte, 512)
		n, from, err := s.ReadFromUDPAddrPort(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if id > 0 {
			continue
		}
		buffer[2] |= 0x80 // a response
		s.WriteToUDPAddrPort(buffer[:n], from)
		c.Read(buffer)
	}
	c.Write([]byte("not DNS"))
	client.dialUDP("udp4", elsewhere.LocalAddr().String()).Write(query(t, 7, "unseen.invalid."))
	for where, counter := range map[string]*Counter{"client": atClient, "server": atServer} {
		var got record.DNSCounts
		var records []record.DNS
		await(t, func() error {
			sums, more := tallyDNS(t, counter, serverIPv4)
			for name, s := range sums {
				if name != "q.invalid A" {
					t.Errorf("%s: %s: got %+v", where, name, s)
				}
				got.Requests += s.Requests
				got.Successes += s.Successes
				got.Timeouts += s.Timeouts
			}
			records = append(records, more...)
			if got.Timeouts < 2 {
				return fmt.Errorf("%s: got %+v", where, got)
			}
			return nil
		})
		if got.Requests != 3 || got.Successes != 1 || got.Timeouts != 2 {
			t.Errorf("%s: got %+v", where, got)
		}
		for _, r := range records {
			if (r.Client.Owner.PID != 0) != (where == "client") || (r.Server.Owner.PID != 0) != (where == "server") ||
				r.Client.Addr.String() != clientIPv4 {
				t.Errorf("%s: got %+v", where, r)
			}
		}
		if l, err := counter.Losses(); err != nil || l.DNSMalformed != 1 {
			t.Errorf("%s: losses %+v, %v", where, l, err)
		}
	}
}

// If the ring buffer is full, the packets that are not copied are counted.
func TestDNSRingIsFull(t *testing.T) {
	ns := newNamespace(t)
	counter := openIn(t, ns, Options{Mode: EBPF, Scope: NetNS})
	needUDP(t, counter)
	s := ns.listenUDP("udp4", "127.0.0.1:53")
	c := ns.dialUDP("udp4", s.LocalAddr().String())
	release := counter.udp.DNS.Hold()
	const n = 30_000
	packet := query(t, 1, "full.invalid.")
	for i := range n {
		packet[0], packet[1] = byte(i>>8), byte(i)
		if _, err := c.Write(packet); err != nil {
			t.Error(err)
			break
		}
	}
	release()
	sums, _ := tallyDNS(t, counter, "127.0.0.1")
	losses, err := counter.Losses()
	if err != nil || losses.DNSDropped == 0 || sums["full.invalid A"].Requests+losses.DNSDropped != n {
		t.Errorf("got %+v, losses %+v, %v", sums, losses, err)
	}
	if sum, _ := tallyUDP(t, counter, 53); sum.PacketsSentByClient != n {
		t.Errorf("got %+v", sum)
	}
}

func TestDNSIsLeftOut(t *testing.T) {
	c := openUDPFor(t, Options{Mode: EBPF, DNSPorts: []uint16{}})
	if records, err := c.TallyDNS(context.Background()); err != nil || len(records) > 0 {
		t.Errorf("got %v, %v", records, err)
	}
}

// Queries of the resolvers of the C library and of Go are tallied.
func TestDNSOfResolvers(t *testing.T) {
	ns := newNamespace(t)
	ns.dnsmasq("127.0.0.1")
	counter := openIn(t, ns, Options{Mode: EBPF, Scope: NetNS})
	needUDP(t, counter)
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (c net.Conn, err error) {
		ns.do(func() error {
			c, err = net.Dial("udp", "127.0.0.1:53")
			return err
		})
		return c, err
	}}
	if _, err := resolver.LookupNetIP(context.Background(), "ip", "yes.invalid."); err != nil {
		t.Fatal(err)
	}
	sums, _ := tallyDNS(t, counter, "127.0.0.1")
	if sums["yes.invalid A"].Successes != 1 || sums["yes.invalid AAAA"].Successes != 1 {
		t.Errorf("got %+v", sums)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, file, "nameserver 127.0.0.1\n")
	ns.command("", "unshare", "--mount", "sh", "-c", "mount --bind "+file+" /etc/resolv.conf && getent ahosts yes.invalid")
	sums, records := tallyDNS(t, counter, "127.0.0.1")
	if sums["yes.invalid A"].Successes != 1 || sums["yes.invalid AAAA"].Successes != 1 {
		t.Errorf("got %+v", sums)
	}
	for _, r := range records {
		if r.Client.Owner.Process != "getent" {
			t.Errorf("got %+v", r.Client)
		}
	}
}

func TestDNSRecordJSON(t *testing.T) {
	r := record.DNS{
		Server: record.Endpoint{Addr: netip.MustParseAddr("192.0.2.53"), Port: 53}, Name: "a.invalid", Type: "A",
		DNSCounts: record.DNSCounts{Requests: 5, Successes: 2, NXDomain: 1, Timeouts: 2},
	}
	r.SuccessLatency.Add(3 * time.Millisecond)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"dns_query":"a.invalid"`, `"dns_total_requests":5`, `"dns_failures":3`,
		`"dns_responses.nxdomain":1`, `"dns_success_latency_percentile":{"p50":3000`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Contains(string(text), "dns_failure_latency") {
		t.Errorf("%s has the latency of no answer", text)
	}
}
