package flows

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"socktally/record"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// dnsmasq runs dnsmasq. It answers yes.invalid with an address, no.invalid with NXDOMAIN, and all other names with REFUSED.
// stop ends it and returns the number of answers by its statistics.
func (ns *namespace) dnsmasq(addresses ...string) (stop func() (answered uint64)) {
	ns.t.Helper()
	needProgram(ns.t, "dnsmasq")
	log := filepath.Join(ns.t.TempDir(), "log")
	args := []string{"--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root",
		"--pid-file=", "--bind-interfaces", "--except-interface=none", "--cache-size=0", "--log-facility=" + log,
		"--address=/yes.invalid/192.0.2.1", "--address=/yes.invalid/2001:db8::1", "--local=/no.invalid/",
		"--no-negcache", "--dns-forward-max=10000"}
	for _, a := range addresses {
		args = append(args, "--listen-address="+a)
	}
	cmd := exec.Command("dnsmasq", args...)
	cmd.Stderr = os.Stderr
	ns.do(cmd.Start)
	ns.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	awaitLine := func(pattern string) (found []string) {
		await(ns.t, func() error {
			text, _ := os.ReadFile(log)
			if found = regexp.MustCompile(pattern).FindStringSubmatch(string(text)); found == nil {
				return fmt.Errorf("dnsmasq does not say %q", pattern)
			}
			return nil
		})
		return found
	}
	awaitLine("started, version")
	return func() uint64 {
		cmd.Process.Signal(unix.SIGUSR1)
		n, _ := strconv.ParseUint(awaitLine(`queries answered locally (\d+)`)[1], 10, 64)
		return n
	}
}

// nsd runs nsd. It answers zone.invalid with an address, and big.zone.invalid with a text that is too long for a datagram of
// 512 bytes. All other names in that zone are NXDOMAIN. fail.invalid is SERVFAIL, because there is no file for that zone. All
// other names are REFUSED.
func (ns *namespace) nsd(address string) {
	ns.t.Helper()
	needProgram(ns.t, "nsd")
	dir := ns.t.TempDir()
	write(ns.t, filepath.Join(dir, "zone"), "$ORIGIN zone.invalid.\n$TTL 600\n"+
		"@ SOA ns.zone.invalid. admin.zone.invalid. 1 3600 600 86400 60\n@ NS ns\n@ A 192.0.2.1\nns A "+address+"\n"+
		"big TXT"+strings.Repeat(" "+strings.Repeat("x", 250), 4)+"\n")
	var config strings.Builder
	for _, line := range []string{"server:", "ip-address: " + address, `username: ""`, `database: ""`, `zonesdir: "` + dir + `"`,
		"pidfile: pid", "zonelistfile: zones", "xfrdfile: xfrd", `xfrdir: "` + dir + `"`, "logfile: log", "verbosity: 1", "server-count: 1", "tcp-query-count: 0",
		"remote-control:", "control-enable: no",
		"zone:", "name: zone.invalid", "zonefile: zone", "zone:", "name: fail.invalid", "zonefile: missing"} {
		fmt.Fprintln(&config, line)
	}
	write(ns.t, filepath.Join(dir, "config"), config.String())
	cmd := exec.Command("nsd", "-d", "-c", filepath.Join(dir, "config"))
	ns.do(cmd.Start)
	ns.t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM) // it ends its children
		cmd.Wait()
	})
	await(ns.t, func() error {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if !strings.Contains(string(log), "nsd started") {
			return fmt.Errorf("nsd does not start:\n%s", log)
		}
		return nil
	})
}

// dnsperf sends the questions to serverIPv4 in portions, in each of which every question is sent so many times. After each
// portion it waits until the counters have read their copies, because the ring buffers only have room for one portion. It
// returns the sums of dnsperf's counts, by their names in dnsperf.
func (ns *namespace) dnsperf(questions string, portions, times int, counters []*Counter, args ...string) map[string]uint64 {
	ns.t.Helper()
	needProgram(ns.t, "dnsperf")
	file := filepath.Join(ns.t.TempDir(), "queries")
	write(ns.t, file, questions)
	args = append(args, "-s", serverIPv4, "-d", file, "-n", strconv.Itoa(times), "-t", strconv.Itoa(int(patience.Seconds())))
	sums := make(map[string]uint64)
	for range portions {
		out := ns.command("", "dnsperf", args...)
		for _, found := range regexp.MustCompile(`(Queries \w+|[A-Z]{5,}):?\s+(\d+)\b`).FindAllStringSubmatch(out, -1) {
			n, _ := strconv.ParseUint(found[2], 10, 64)
			sums[found[1]] += n
		}
		for _, c := range counters {
			if err := c.udp.DNS.CatchUp(context.Background()); err != nil {
				ns.t.Fatal(err)
			}
		}
	}
	return sums
}

// tallyDNS tallies once and returns the records of one server, summed by name and type.
func tallyDNS(t testing.TB, c *Counter, server string) (map[string]record.DNSCounts, []record.DNS) {
	t.Helper()
	all, err := c.TallyDNS(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]record.DNSCounts)
	var records []record.DNS
	for _, r := range all {
		if r.Server.Addr != netip.MustParseAddr(server) {
			continue
		}
		records = append(records, r)
		s := sums[r.Name+" "+r.Type]
		s.Requests += r.Requests
		s.Successes += r.Successes
		s.NXDomain += r.NXDomain
		s.ServFail += r.ServFail
		s.OtherFailures += r.OtherFailures
		s.Timeouts += r.Timeouts
		sums[r.Name+" "+r.Type] = s
	}
	return sums, records
}

func query(t testing.TB, id uint16, name string) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}
