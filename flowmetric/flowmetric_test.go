package flowmetric

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"socktally/metric"
	"socktally/record"
)

// flow is a record of 100 bytes to a server.
func flow(service, server string) record.Flow {
	return record.Flow{
		Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Outgoing,
		Client:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{Service: service}},
		Server:   record.Endpoint{Addr: netip.MustParseAddr(server), Port: 443},
		Counters: record.Counters{BytesSentByClient: 100},
	}
}

func newSplitter(t testing.TB, budget int, tags ...string) *Splitter {
	t.Helper()
	s, err := New(Options{Tags: tags, MaxCombinations: budget})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sentBy returns the bytes sent, by the tags.
func sentBy(samples []metric.Sample) map[string]float64 {
	sent := map[string]float64{}
	for _, m := range samples {
		if m.Name == metric.FlowBytesSent {
			sent[strings.Join(m.Tags, ",")] += m.Value
		}
	}
	return sent
}

func wantSent(t *testing.T, samples []metric.Sample, want map[string]float64) {
	t.Helper()
	if got := sentBy(samples); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEveryTagHasAValue(t *testing.T) {
	r := flow("Web", "192.0.2.1")
	r.Client.Owner = record.Owner{
		PID: 7, Process: "Nginx", Service: "Web", Env: "Prod", Version: "1.2", ContainerID: "abc", PodUID: "p-1",
		Tags: []string{"team", "Team:Net", "team:late", "service:fake"},
	}
	r.Server.Owner.Service = "DB"
	r.ServerDomain = "DB.invalid"
	want := map[string]string{
		"direction": "outgoing", "protocol": "tcp", "family": "ipv4", "source": "ebpf", "service": "web", "env": "prod",
		"version": "1.2", "process": "nginx", "pid": "7", "container_id": "abc", "pod_uid": "p-1", "remote": "db.invalid", "remote_ip": "192.0.2.1",
		"remote_class": "public", "remote_service": "db", "networks": "", "client_ip": "10.0.0.1", "client_service": "web",
		"server_ip": "192.0.2.1", "server_port": "443", "server_service": "db", "server_domain": "db.invalid", "dns_query": "", "dns_qtype": "", "tag.team": "net", "tag.x": "n/a",
	}
	names := []string{"tag.team", "tag.x"}
	for _, known := range metric.FlowTags() {
		names = append(names, known.Name)
	}
	for _, name := range names {
		tag := strings.TrimPrefix(name, metric.ProcessTagPrefix) + ":" + want[name]
		if want[name] == "" {
			tag = ""
		}
		wantSent(t, newSplitter(t, 9, name).Samples([]record.Flow{r}, start, interval), map[string]float64{tag: 100})
		// The same flow on the host of the server, with nothing known about the ends.
		bare := record.Flow{Direction: record.Incoming, Counters: record.Counters{BytesSentByServer: 5}}
		bare.Server.Addr = netip.IPv6Unspecified()
		for key := range sentBy(newSplitter(t, 9, name).Samples([]record.Flow{bare}, start, interval)) {
			if _, value, _ := strings.Cut(key, ":"); want[name] != "" && !slices.Contains([]string{"n/a", "incoming", "::", ":"}, value) && value != "" {
				t.Errorf("%s of an unknown flow is %q", name, key)
			}
		}
	}
	if _, err := New(Options{Tags: []string{"x"}, MaxCombinations: 1}); err == nil {
		t.Error("an unknown tag was accepted")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no budget was accepted")
	}
}

// TestRemoteIsNamed has names of servers from DNS, also hostile ones.
func TestRemoteIsNamed(t *testing.T) {
	s := newSplitter(t, 10, "remote", "server_domain")
	named := func(server, domain string) record.Flow {
		r := flow("", server)
		r.ServerDomain = domain
		return r
	}
	incoming := named("192.0.2.9", "own.invalid")
	incoming.Direction, incoming.BytesSentByServer = record.Incoming, 7
	records := []record.Flow{
		named("192.0.2.1", "WWW.invalid"), named("192.0.2.2", "a,b\n|c"), named("2001:db8::1", "six.invalid"), named("2001:db8::", ""),
		named("192.0.2.3", ""), named("192.0.2.4", "10.0.0.1"), incoming,
	}
	wantSent(t, s.Samples(records, start, interval), map[string]float64{
		"remote:www.invalid,server_domain:www.invalid": 100, "remote:a_b_c,server_domain:a_b_c": 100,
		"remote:six.invalid,server_domain:six.invalid": 100, "remote:2001:db8,server_domain:n/a": 100, "remote:192.0.2.3,server_domain:n/a": 100,
		"remote:192.0.2.4,server_domain:10.0.0.1": 100, "remote:10.0.0.1,server_domain:own.invalid": 7,
	})
	s.SetNetworks(someNetworks{})
	wantSent(t, s.Samples(records[2:4], start, interval), map[string]float64{
		"remote:six,server_domain:six.invalid": 100, "remote:six,server_domain:n/a": 100,
	})
}

func TestClass(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1": "loopback", "::1": "loopback", "0.0.0.0": "loopback", "10.0.0.1": "private", "172.16.0.1": "private",
		"192.168.0.1": "private", "100.64.0.1": "private", "fd00::1": "private", "169.254.0.1": "link_local",
		"fe80::1": "link_local", "224.0.0.1": "multicast", "ff02::1": "multicast", "192.0.2.1": "public", "2001:db8::1": "public",
	} {
		if got := class(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
}

// TestHostileValues has names of processes that look like other tags, lines or log entries.
func TestHostileValues(t *testing.T) {
	s := newSplitter(t, 100, "service", "direction")
	big := strings.Repeat("\x00\n|#,é", 10_000)
	wantSent(t, s.Samples([]record.Flow{
		flow("web,direction:incoming", "192.0.2.1"), flow("x\nsocktally.flow.reset:9|c|#env:prod", "192.0.2.1"),
		flow("\xff\xfe\x00", "192.0.2.1"), flow(big, "192.0.2.1"), flow("WEB!", "192.0.2.1"), flow("web", "192.0.2.1"),
		flow("x:y", "192.0.2.1"), flow(" ", "192.0.2.1"),
	}, start, interval), map[string]float64{
		"service:web_direction:incoming,direction:outgoing":              100,
		"service:x_socktally.flow.reset:9_c_env:prod,direction:outgoing": 100,
		"service:n/a,direction:outgoing":                                 200,
		"service:" + strings.Repeat("_é", 64) + ",direction:outgoing":    100,
		"service:web,direction:outgoing":                                 200,
		"service:x:y,direction:outgoing":                                 100,
	})
}

// TestOthersAreOne has a process whose tags are those of the combination of all others, and overflow records.
func TestOthersAreOne(t *testing.T) {
	s := newSplitter(t, 2, "service")
	overflow := record.Flow{Direction: record.Outgoing, Counters: record.Counters{BytesSentByClient: 7}}
	big := flow("big", "192.0.2.1")
	big.BytesSentByClient = 1000
	wantSent(t, s.Samples([]record.Flow{flow("other", "192.0.2.1"), big, flow("Other", "192.0.2.1"), overflow, flow("small", "192.0.2.1")}, start, interval),
		map[string]float64{"service:big": 1000, "service:other": 307})
}

// TestLargeCounts sums counts that are too large for a float64 or an int64.
func TestLargeCounts(t *testing.T) {
	s := newSplitter(t, 1, "service")
	var records []record.Flow
	for range 4 {
		r := flow("a", "192.0.2.1")
		r.BytesSentByClient = 1<<51 - 1
		records = append(records, r)
	}
	wantSent(t, s.Samples(records, start, interval), map[string]float64{"service:other": 1<<53 - 4})
	p := slots{weights: map[string]uint64{}}
	for range 2 {
		if placed, _ := p.assign([]candidate{{key: "a", amount: math.MaxUint64, index: 1}, {key: "b", amount: 1, index: 2}}, 1); !slices.Equal(placed, []int{1}) {
			t.Errorf("placed %v", placed)
		}
	}
}

func TestRTTIsTheMeanOfSockets(t *testing.T) {
	slow, fast, idle := flow("a", "192.0.2.1"), flow("a", "192.0.2.1"), flow("a", "192.0.2.1")
	slow.RTTSum, slow.RTTSamples = 4000, 1
	fast.RTTSum, fast.RTTSamples = 3000, 3
	for _, tag := range []string{"service", "server_ip"} { // one combination, or two that become the others
		slow.Server.Addr = netip.MustParseAddr("192.0.2.2")
		found := 0
		for _, m := range newSplitter(t, 1, tag).Samples([]record.Flow{slow, fast, idle}, start, interval) {
			if m.Name == metric.FlowRTT {
				found++
				if m.Kind != metric.Gauge || math.Abs(m.Value-0.00175) > 1e-9 {
					t.Errorf("rtt is %v", m.Value)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d round trip times", found)
		}
	}
}

// TestPlaces checks the rules step by step, with two slots.
func TestPlaces(t *testing.T) {
	p := slots{weights: map[string]uint64{}}
	for i, step := range []struct {
		claims map[string]uint64
		want   string
	}{
		{map[string]uint64{"a": 100, "b": 100, "c": 90}, "[a b]"},
		{map[string]uint64{"a": 10, "b": 100, "c": 100}, "[a b]"},    // a has weight 50 and rank 100, the same as c
		{map[string]uint64{"a": 50, "b": 100, "c": 101}, "[b c]"},    // c has more than twice the weight of a
		{map[string]uint64{"a": 101, "b": 100, "c": 101}, "[b c]"},   // a does not get its slot back at once
		{map[string]uint64{"a": 101}, "[a]"},                         // b and c are idle with weight 50 and rank 100: one of them loses its slot
		{map[string]uint64{"a": 101, "b": 60, "c": 60}, "[a b]"},     // b was idle and has kept its slot
		{map[string]uint64{"a": 101}, "[a]"},                         // b is idle with weight 30
		{map[string]uint64{"a": 101, "c": 61}, "[a c]"},              // b is idle with weight 15 and rank 30, less than c
		{map[string]uint64{"d": 0, "e": 0}, "[]"},                    // a and c are idle, but still have weight
		{map[string]uint64{"a": 0, "c": 0, "d": 0, "e": 0}, "[a c]"}, // and now too, with weights 25 and 15
	} {
		var claims []candidate
		for i, key := range []string{"a", "b", "c", "d", "e"} {
			if bytes, ok := step.claims[key]; ok {
				claims = append(claims, candidate{key: key, amount: bytes, index: i})
			}
		}
		placed, rest := p.assign(claims, 2)
		got := []string{}
		for _, i := range placed {
			got = append(got, string(rune('a'+i)))
		}
		slices.Sort(got)
		if fmt.Sprint(got) != step.want || len(placed)+len(rest) != len(claims) || len(p.weights) > 2 {
			t.Errorf("step %d: got %v, want %s; holding %v", i, got, step.want, p.weights)
		}
	}
	for range 10 { // 100 bytes are halved to nothing in seven steps
		p.assign(nil, 2)
	}
	if len(p.weights) != 0 {
		t.Errorf("still holding %v", p.weights)
	}
}

// manyRemotes returns records of a few bytes each to n remotes, beginning with another remote in each round.
func manyRemotes(n, round int) []record.Flow {
	records := make([]record.Flow, n)
	for i := range records {
		records[i] = flow("crawler", "192.0.2.1")
		j := uint32(round*n + i)
		records[i].Server.Addr = netip.AddrFrom4([4]byte{byte(j>>24) + 11, byte(j >> 16), byte(j >> 8), byte(j)})
		records[i].BytesSentByClient = uint64(j%977) + 1
		records[i].BytesSentByServer = uint64(j % 31)
		records[i].Established = 1
		records[i].RTTSum, records[i].RTTSamples = 100, 1
	}
	return records
}

var defaultTags = []string{"direction", "protocol", "service", "remote", "server_port"}

// TestManyRemotes has 25,000 new remotes in each interval of 30 s: 50,000 a minute.
func TestManyRemotes(t *testing.T) {
	const budget, rounds = 500, 20
	s := newSplitter(t, budget, defaultTags...)
	var first, last runtime.MemStats
	for round := range rounds {
		records := manyRemotes(25_000, round)
		samples := s.Samples(records, start, interval)
		sums := totals(records)
		contexts := map[string]bool{}
		for _, m := range samples {
			if m.Kind == metric.Count {
				contexts[strings.Join(m.Tags, ",")] = true
				sums[m.Name] -= uint64(m.Value)
			}
		}
		for name, rest := range sums {
			if rest != 0 {
				t.Fatalf("round %d: %s misses %d", round, name, rest)
			}
		}
		if len(contexts) > budget || len(s.flows.slots.weights) >= budget {
			t.Fatalf("round %d: %d combinations, %d places", round, len(contexts), len(s.flows.slots.weights))
		}
		records, samples = nil, nil
		runtime.GC()
		runtime.ReadMemStats(&last)
		if round == 1 {
			first = last
		}
	}
	grown := int64(last.HeapAlloc) - int64(first.HeapAlloc)
	t.Logf("heap after a round %d KiB, grown by %d KiB in %d rounds", last.HeapAlloc>>10, grown>>10, rounds-2)
	if grown > 2<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	runtime.KeepAlive(s)
}

func BenchmarkSamples(b *testing.B) {
	for _, n := range []int{1000, 50_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s := newSplitter(b, 500, defaultTags...)
			records := manyRemotes(n, 0)
			b.ReportAllocs()
			for b.Loop() {
				s.Samples(records, start, interval)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
		})
	}
}

// TestAddedRecordsAreAmongTheNext adds the records of an interval in several parts.
func TestAddedRecordsAreAmongTheNext(t *testing.T) {
	s := newSplitter(t, 3, "service")
	for range 2 { // intervals
		if s.Combinations() != 0 {
			t.Errorf("%d combinations before an interval", s.Combinations())
		}
		s.Add([]record.Flow{flow("a", "192.0.2.1"), flow("b", "192.0.2.1")}, nil)
		s.Add(nil, nil)
		s.Add([]record.Flow{flow("a", "192.0.2.1"), flow("c", "192.0.2.1")}, nil)
		if s.Combinations() != 4 { // with all others
			t.Errorf("%d combinations are held", s.Combinations())
		}
		wantSent(t, s.Samples([]record.Flow{flow("b", "192.0.2.1"), flow("b", "192.0.2.1")}, start, interval), map[string]float64{
			"service:a": 200, "service:b": 300, "service:other": 100,
		})
	}
}
