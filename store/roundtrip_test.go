package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"socktally/record"
	"socktally/store"
)

// sums is what a store should answer: for each bucket and flow, or query, its counters.
type sums struct {
	flows map[string]record.Counters
	dns   map[string]string
	exact map[string]*record.DNSCounts
}

func newSums() *sums {
	return &sums{map[string]record.Counters{}, map[string]string{}, map[string]*record.DNSCounts{}}
}

func (m *sums) addFlow(r record.Flow) {
	c := r.Counters
	r.Counters = record.Counters{}
	key := addresses(&r.Client, &r.Server) + fmt.Sprintf("%#v", r)
	m.flows[key] = plus(m.flows[key], c)
}

// addresses takes the addresses out of two endpoints: an address as Go syntax is not always the same.
func addresses(client, server *record.Endpoint) string {
	text := fmt.Sprint(client.Addr, server.Addr)
	client.Addr, server.Addr = netip.Addr{}, netip.Addr{}
	return text
}

// plus adds all fields of counters, whichever there are.
func plus(a, b record.Counters) record.Counters {
	to, from := reflect.ValueOf(&a).Elem(), reflect.ValueOf(b)
	for i := range to.NumField() {
		switch f := from.Field(i); {
		case f.Kind() == reflect.Uint64:
			to.Field(i).SetUint(to.Field(i).Uint() + f.Uint())
		case f.Kind() == reflect.Uint8: // Known, a set
			to.Field(i).SetUint(to.Field(i).Uint() | f.Uint())
		}
	}
	return a
}

func (m *sums) addDNS(r record.DNS) {
	c := r.DNSCounts
	r.DNSCounts = record.DNSCounts{}
	key := addresses(&r.Client, &r.Server) + fmt.Sprintf("%#v", r)
	sum := m.exact[key]
	if sum == nil {
		sum = &record.DNSCounts{}
		m.exact[key] = sum
	}
	to, from := reflect.ValueOf(sum).Elem(), reflect.ValueOf(c)
	for i := range to.NumField() {
		if f := to.Field(i); f.Kind() == reflect.Uint64 {
			f.SetUint(f.Uint() + from.Field(i).Uint())
		}
	}
	sum.SuccessLatency.Merge(&c.SuccessLatency)
	sum.FailureLatency.Merge(&c.FailureLatency)
	text, err := json.Marshal(record.DNS{DNSCounts: *sum}) // with the percentiles
	if err != nil {
		panic(err)
	}
	m.dns[key] = string(text)
}

// answer is what the store says.
func answer(t interface{ Fatal(...any) }, s *store.Store, from, to time.Time) *sums {
	got := newSums()
	err := s.Connections(context.Background(), from, to, func(r *record.Flow) error {
		kept := *r
		kept.Client.Owner.Tags = slices.Clone(r.Client.Owner.Tags)
		kept.Server.Owner.Tags = slices.Clone(r.Server.Owner.Tags)
		got.addFlow(kept)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.DNS(context.Background(), from, to, func(r *record.DNS) error {
		got.addDNS(*r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func drawOwner(t *rapid.T) record.Owner {
	word := rapid.SampledFrom([]string{"", "nginx", "prod", "ü", "a b,c", "\x00\xff"})
	return record.Owner{
		PID: uint32(rapid.IntRange(0, 2).Draw(t, "pid")), Process: word.Draw(t, "process"), Service: word.Draw(t, "service"),
		Env: word.Draw(t, "env"), Version: word.Draw(t, "version"), Tags: rapid.SampledFrom([][]string{nil, {"a:b"}, {"a:b", "", "c"}}).Draw(t, "tags"),
		CgroupID: rapid.Uint64().Draw(t, "cgroup id"), Cgroup: word.Draw(t, "cgroup"),
		ContainerID: word.Draw(t, "container"), PodUID: word.Draw(t, "pod"), NetNS: rapid.Uint32().Draw(t, "netns"),
	}
}

func drawEnd(t *rapid.T, owners []record.Owner) record.Endpoint {
	addrs := []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"),
		netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.1")}
	return record.Endpoint{
		Addr: rapid.SampledFrom(addrs).Draw(t, "address"), Port: rapid.SampledFrom([]uint16{0, 53, 65535}).Draw(t, "port"),
		Owner: rapid.SampledFrom(owners).Draw(t, "owner"),
	}
}

func drawCounters(t *rapid.T) record.Counters {
	var c record.Counters
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		n := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Max(200), rapid.Uint64()).Draw(t, v.Type().Field(i).Name)
		if v.Field(i).Kind() == reflect.Uint64 {
			v.Field(i).SetUint(n)
		} else {
			v.Field(i).SetUint(n % 4) // Known
		}
	}
	return c
}

func drawQuery(t *rapid.T, owners []record.Owner) record.DNS {
	r := record.DNS{
		Protocol:  rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "protocol"),
		Direction: rapid.SampledFrom([]record.Direction{record.Outgoing, record.Incoming}).Draw(t, "direction"),
		Client:    drawEnd(t, owners), Server: drawEnd(t, owners),
		Name: rapid.SampledFrom([]string{"", "host.example.invalid", record.Other}).Draw(t, "name"),
		Type: rapid.SampledFrom([]string{"A", "AAAA", record.Other}).Draw(t, "type"),
	}
	v := reflect.ValueOf(&r.DNSCounts).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Uint64 {
			v.Field(i).SetUint(rapid.Uint64Max(1000).Draw(t, v.Type().Field(i).Name))
		}
	}
	for _, l := range []*record.Latency{&r.SuccessLatency, &r.FailureLatency} {
		for range rapid.IntRange(0, 3).Draw(t, "latencies") {
			l.Add(time.Duration(rapid.IntRange(0, 20_000_000).Draw(t, "us")) * time.Microsecond)
		}
	}
	return r
}

// TestRoundTrip: whatever is added, at whatever times, between whichever restarts, comes back in sums,
// with the file and without.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := ""
		if rapid.Bool().Draw(t, "file") {
			dir := tempDir(t)
			path = dir + "/store.db"
		}
		openIt := func() *store.Store {
			s, err := store.Open(store.Options{Path: path, Log: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := openIt()
		defer func() { s.Close() }()
		var owners []record.Owner
		for range 3 {
			owners = append(owners, drawOwner(t))
		}
		want := map[int64]*sums{}
		for range rapid.IntRange(1, 8).Draw(t, "adds") {
			at := noon.Add(time.Duration(rapid.IntRange(0, 4*300-1).Draw(t, "at")) * time.Second)
			start := at.Truncate(bucket).Unix()
			if want[start] == nil {
				want[start] = newSums()
			}
			var records []record.Flow
			for range rapid.IntRange(0, 6).Draw(t, "flows") {
				r := record.Flow{
					Protocol: rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "protocol"), Family: "ipv4", Source: record.FromEBPF,
					Direction: rapid.SampledFrom([]record.Direction{record.Incoming, record.Local}).Draw(t, "direction"),
					Client:    drawEnd(t, owners), Server: drawEnd(t, owners),
					ServerDomain: rapid.SampledFrom([]string{"", "a.invalid"}).Draw(t, "domain"), Counters: drawCounters(t),
				}
				records = append(records, r)
				want[start].addFlow(r)
			}
			var queries []record.DNS
			for range rapid.IntRange(0, 4).Draw(t, "queries") {
				r := drawQuery(t, owners)
				queries = append(queries, r)
				want[start].addDNS(r)
			}
			if err := s.Add(at, records, queries); err != nil {
				t.Fatal(err)
			}
			if path != "" && rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openIt()
			}
		}
		for start, w := range want {
			from := time.Unix(start, 0)
			got := answer(t, s, from, from.Add(bucket))
			if !reflect.DeepEqual(got.flows, w.flows) || !reflect.DeepEqual(got.dns, w.dns) {
				t.Fatalf("bucket %d has\n%v\nwant\n%v", start-noon.Unix(), got, w)
			}
		}
	})
}
