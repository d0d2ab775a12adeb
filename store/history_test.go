package store_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"socktally/record"
	"socktally/store"
)

// The files testdata/*.db are stores as programs of their time wrote them; what they hold is said beside
// each, in JSON. They are never written again: with each new layout one is added, by
//
//	SOCKTALLY_TEST_WRITE_HISTORY=layoutN go test ./store -run TestWriteHistory
const writeHistoryVar = "SOCKTALLY_TEST_WRITE_HISTORY"

// TestHistory: each store that was ever written is read, and has exactly the records that it had.
func TestHistory(t *testing.T) {
	files, err := filepath.Glob("testdata/*.db")
	if err != nil || len(files) == 0 {
		t.Fatalf("no store of an earlier time: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".db") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			path := newPath(t)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			// A program that knows an older layout alone must refuse the file once there are chunks of another one.
			const newest = 2
			for _, state := range []string{"first opened", "opened again"} {
				s := open(t, store.Options{Path: path})
				differ(t, state, history(t, s), string(want))
				if st := s.Stats(); st.DamagedChunks+st.DamagedFiles > 0 {
					t.Errorf("%s: %+v", state, st)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if n := userVersion(t, path); n != newest {
					t.Errorf("%s, the file is of version %d, want %d", state, n, newest)
				}
			}
		})
	}
}

func userVersion(t *testing.T, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("PRAGMA user_version").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWriteHistory writes a store, and beside it what was put into it.
func TestWriteHistory(t *testing.T) {
	name := os.Getenv(writeHistoryVar)
	if name == "" {
		t.Skip(writeHistoryVar + " is not set")
	}
	path := filepath.Join("testdata", name+".db")
	if _, err := os.Stat(path); err == nil {
		t.Fatalf("%s is there: it is never written again", path)
	}
	s := open(t, store.Options{Path: path})
	var text []string
	for i := range 3 {
		at := noon.Add(time.Duration(i) * bucket)
		flows, queries := historicFlows(i), historicDNS(i)
		add(t, s, at, flows, queries...)
		for j := range flows {
			text = append(text, flowText(t, at, &flows[j]))
		}
		for j := range queries {
			text = append(text, dnsText(t, at, &queries[j]))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name+".json"), []byte(lined(text)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// differ fails with the lines that only one of two texts has.
func differ(t *testing.T, state, got, want string) {
	t.Helper()
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range gotLines {
		if !slices.Contains(wantLines, line) {
			t.Errorf("%s, it should not hold\n%s", state, line)
		}
	}
	for _, line := range wantLines {
		if !slices.Contains(gotLines, line) {
			t.Errorf("%s, it should hold\n%s", state, line)
		}
	}
	if len(gotLines) != len(wantLines) {
		t.Errorf("%s, it holds %d records, want %d", state, len(gotLines)-1, len(wantLines)-1)
	}
}

// history is all that a store holds, a record a line, in an order that does not depend on the store's.
func history(t *testing.T, s *store.Store) string {
	t.Helper()
	var text []string
	for at := noon.Add(-bucket); at.Before(noon.Add(4 * bucket)); at = at.Add(bucket) {
		err := s.Connections(context.Background(), at, at.Add(bucket), func(r *record.Flow) error {
			text = append(text, flowText(t, at, r))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.DNS(context.Background(), at, at.Add(bucket), func(r *record.DNS) error {
			text = append(text, dnsText(t, at, r))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return lined(text)
}

func lined(text []string) string {
	slices.Sort(text)
	return strings.Join(text, "\n") + "\n"
}

func historicOwner(n int) record.Owner {
	return record.Owner{
		PID: uint32(4000 + n), Process: "nginx", Service: fmt.Sprint("web-", n), Env: "prod", Version: "1.2.3",
		Tags: [][]string{{"team:core", "tier:1"}, {"team:core", ""}, nil}[n%3], CgroupID: 1<<40 + uint64(n),
		Cgroup: "/system.slice/web.service", ContainerID: strings.Repeat("0a", 32), PodUID: "3f0c5d7e-0000-4000-8000-00000000000" + fmt.Sprint(n),
		NetNS: 4026531840,
	}
}

// historicFlows give each member of a flow a value, each counter another one, and each kind of address.
func historicFlows(bucket int) []record.Flow {
	addrs := []netip.Addr{here, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.1")}
	var flows []record.Flow
	for i, direction := range []record.Direction{record.Outgoing, record.Incoming, record.Local} {
		r := record.Flow{
			Protocol: "tcp", Family: record.Family(addrs[i]), Source: record.FromEBPF, Direction: direction,
			Client: record.Endpoint{Addr: addrs[i]}, Server: record.Endpoint{Addr: addrs[i+1], Port: 443}, ServerDomain: "api.example.invalid",
		}
		if direction.ClientIsHere() {
			r.Client.Owner = historicOwner(i)
		}
		if direction.ServerIsHere() {
			r.Server.Owner = historicOwner(bucket)
		}
		for j, f := range record.Fields() {
			*f.Of(&r.Counters) = uint64(1+bucket)<<(3*j) + uint64(i)
		}
		r.Known = record.Known(i) // neither, one, the other
		if bucket == 0 && i == 0 {
			r.BytesSentByServer = 1<<64 - 1
		}
		flows = append(flows, r)
	}
	datagrams := record.Flow{Protocol: "udp", Family: "ipv4", Source: record.FromSockDiag, Direction: record.Outgoing}
	datagrams.Client.Addr, datagrams.Server.Addr, datagrams.Server.Port, datagrams.BytesSentByClient = here, here, 65535, 7
	overflow := record.Flow{Protocol: "tcp", Source: record.FromEBPF, Direction: record.Incoming}
	overflow.Known, overflow.Resets = record.KnowsRTOCount|record.KnowsRecoveryCount, 3
	return append(flows, datagrams, overflow)
}

// historicDNS are records whose direction is the one that their owners show.
func historicDNS(bucket int) []record.DNS {
	var queries []record.DNS
	for i, direction := range []record.Direction{record.Outgoing, record.Incoming, record.Local} {
		r := record.DNS{
			Protocol: []string{"udp", "tcp"}[i%2], Direction: direction, Name: fmt.Sprintf("host-%d.example.invalid", bucket), Type: []string{"A", "AAAA"}[i%2],
			Client: record.Endpoint{Addr: here}, Server: record.Endpoint{Addr: netip.MustParseAddr("2001:db8::53"), Port: 53},
		}
		if direction.ClientIsHere() {
			r.Client.Owner = historicOwner(0)
		}
		if direction.ServerIsHere() {
			r.Server.Owner = historicOwner(2)
		}
		for j, f := range record.DNSFields() {
			*f.Of(&r.DNSCounts) = uint64(1+bucket)<<(9*j) + uint64(i)
		}
		for j := range i + 2 {
			r.SuccessLatency.Add(time.Duration(1+j*j*1000) * time.Millisecond)
			if i > 0 {
				r.FailureLatency.Add(time.Duration(j) * time.Microsecond)
			}
		}
		queries = append(queries, r)
	}
	return append(queries, record.DNS{
		Protocol: "udp", Direction: record.Outgoing, Name: record.Other, Type: record.Other, DNSCounts: record.DNSCounts{Requests: 9, Timeouts: 9},
	})
}

// members are a record's, by names that do not change when Go's do. What is zero is left out, so that a
// member that is added later changes nothing.
type members map[string]any

func (m members) put(name string, value any) {
	if fmt.Sprint(value) != fmt.Sprint(0) && value != "" {
		m[name] = value
	}
}

func (m members) putEnd(side string, e *record.Endpoint) {
	if e.Addr.IsValid() {
		m[side+"_ip"] = e.Addr.String()
	}
	m.put(side+"_port", e.Port)
	o := &e.Owner
	for name, value := range map[string]any{
		"pid": o.PID, "process": o.Process, "service": o.Service, "env": o.Env, "version": o.Version,
		"cgroup_id": o.CgroupID, "cgroup": o.Cgroup, "container_id": o.ContainerID, "pod_uid": o.PodUID, "netns": o.NetNS,
	} {
		m.put(side+"_"+name, value)
	}
	if o.Tags != nil {
		m[side+"_tags"] = o.Tags
	}
}

func (m members) putLatency(t *testing.T, name string, l *record.Latency) {
	t.Helper()
	binary, err := l.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.put(name+"_count", l.Count())
	m.put(name+"_p99", l.Percentile(99))
	m.put(name, hex.EncodeToString(binary))
}

func (m members) text(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func flowText(t *testing.T, at time.Time, r *record.Flow) string {
	t.Helper()
	m := members{"bucket": at.Unix()}
	for name, value := range map[string]string{
		"protocol": r.Protocol, "family": r.Family, "source": string(r.Source), "direction": string(r.Direction), "server_domain": r.ServerDomain,
	} {
		m.put(name, value)
	}
	m.putEnd("client", &r.Client)
	m.putEnd("server", &r.Server)
	for _, f := range record.Fields() {
		m.put(f.Name, *f.Of(&r.Counters))
		if f.Optional != 0 && r.Known&f.Optional != 0 {
			m[f.Name+"_known"] = true
		}
	}
	return m.text(t)
}

func dnsText(t *testing.T, at time.Time, r *record.DNS) string {
	t.Helper()
	m := members{"bucket": at.Unix()}
	for name, value := range map[string]string{"protocol": r.Protocol, "direction": string(r.Direction), "dns_query": r.Name, "dns_qtype": r.Type} {
		m.put(name, value)
	}
	m.putEnd("client", &r.Client)
	m.putEnd("server", &r.Server)
	for _, f := range record.DNSFields() {
		m.put(f.Name, *f.Of(&r.DNSCounts))
	}
	m.putLatency(t, "success_latency", &r.SuccessLatency)
	m.putLatency(t, "failure_latency", &r.FailureLatency)
	return m.text(t)
}
