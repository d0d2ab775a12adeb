package collector

import (
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"socktally/metric"
)

var readAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// read takes one reading of a tree.
func read(t *testing.T, tree procTree, scope metric.Scope) (map[string]float64, error) {
	t.Helper()
	c, err := New(tree.write(t), scope)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := c.Read(readAt)
	return values(t, samples), err
}

// values returns the value of each sample by name and checks what holds for all samples.
func values(t *testing.T, samples []metric.Sample) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, s := range samples {
		d, known := metric.Lookup(s.Name)
		_, twice := got[s.Name]
		switch {
		case !known:
			t.Errorf("%s is not in the catalogue", s.Name)
		case s.Kind != d.Kind && (s.Kind != metric.Cumulative || d.Kind != metric.Count) || s.Interval != 0 || len(s.Tags) != 0:
			t.Errorf("%s is not a plain %v: %+v", s.Name, d.Kind, s)
		case math.IsNaN(s.Value) || math.IsInf(s.Value, 0):
			t.Errorf("%s = %v", s.Name, s.Value)
		case twice:
			t.Errorf("%s was read twice", s.Name)
		}
		got[s.Name] = s.Value
	}
	return got
}

// wholeReading is what newTree reads as.
func wholeReading() map[string]float64 {
	page := float64(os.Getpagesize()) / 1024
	return map[string]float64{
		"sockstat.sockets.used":     290,
		"sockstat.tcp.inuse":        40,
		"sockstat.tcp.orphan":       8,
		"sockstat.tcp.tw":           16,
		"sockstat.tcp.alloc":        63,
		"sockstat.tcp.mem":          22 * page,
		"sockstat.tcp.mem_pressure": 200 * page,
		"sockstat.tcp.mem_limit":    400 * page,
		"sockstat.tcp.mem_ratio":    0.055,
		"sockstat.tcp.orphan_limit": 1024,
		"sockstat.tcp.orphan_ratio": 0.0078125,
		"sockstat.tcp.tw_limit":     2048,
		"sockstat.tcp.tw_ratio":     0.0078125,
		"sockstat.udp.inuse":        13,
		"sockstat.udp.mem":          6 * page,
		"sockstat.udp.mem_limit":    600 * page,
		"sockstat.udp.mem_ratio":    0.01,
		"sockstat.udplite.inuse":    2,
		"sockstat.raw.inuse":        3,
		"sockstat.frag.inuse":       5,
		"sockstat.frag.memory":      4096,
		"sockstat.tcp6.inuse":       27,
		"sockstat.udp6.inuse":       9,
		"sockstat.udplite6.inuse":   1,
		"sockstat.raw6.inuse":       4,
		"sockstat.frag6.inuse":      7,
		"sockstat.frag6.memory":     8192,
		"sockstat.ports.range":      28232,

		"sockstat.tcp.retrans_segs":     1003,
		"sockstat.udp.no_ports":         1006,
		"sockstat.udp.rcvbuf_errors":    1009,
		"sockstat.udp.sndbuf_errors":    1010,
		"sockstat.tcp.syncookies_sent":  1017,
		"sockstat.tcp.listen_overflows": 1019,
		"sockstat.tcp.listen_drops":     1020,
		"sockstat.tcp.abort_on_memory":  1021,
		"sockstat.tcp.memory_pressures": 1022,
		"sockstat.tcp.pressure":         1,
		"sockstat.conntrack.count":      4097,
		"sockstat.conntrack.limit":      65552,
		"sockstat.conntrack.ratio":      0.0625,
	}
}

// compare reports each difference between two readings.
func compare(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, found := got[name]; !found {
			t.Errorf("%s is missing", name)
		} else if value != want[name] {
			t.Errorf("%s = %v, want %v", name, value, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, found := want[name]; !found {
			t.Errorf("%s = %v, want no sample", name, got[name])
		}
	}
}

func TestReadWhole(t *testing.T) {
	got, err := read(t, newTree(), metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, wholeReading())

	for _, d := range metric.Catalogue() {
		if _, found := got[d.Name]; !found && strings.HasPrefix(d.Name, "sockstat.") {
			t.Errorf("%s is in the catalogue and no file makes it", d.Name)
		}
	}
}

// TestSources takes away one source at a time: each has a fixture and makes samples, and its absence is an error
// only where every kernel has it.
func TestSources(t *testing.T) {
	for _, source := range sources() {
		t.Run(source.file, func(t *testing.T) {
			if _, found := newTree()[source.file]; !found {
				t.Fatal("newTree lacks it: nothing shows what it makes")
			}
			got, err := read(t, newTree().without(source.file), metric.Host)
			if n := len(wholeReading()); len(got) >= n {
				t.Errorf("without it a reading has %d samples, of %d", len(got), n)
			}
			if (err != nil) != source.required {
				t.Errorf("its absence is the error %v", err)
			}
		})
	}
}

// TestNameOutsideTheCatalogue adds a source that makes a metric that nobody described.
func TestNameOutsideTheCatalogue(t *testing.T) {
	c, err := New(newTree().write(t), metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	c.sources = append(c.sources, source{file: sockstatFile, read: func(r *reading, _ string) error {
		r.add("sockstat.tcp.made_up", 1)
		return nil
	}})
	samples, err := c.Read(readAt)
	if err == nil || err.Error() != "metric sockstat.tcp.made_up is not in the catalogue" {
		t.Errorf("got the error %v", err)
	}
	compare(t, values(t, samples), wholeReading())
}

func TestReadStampsSamples(t *testing.T) {
	c, err := New(newTree().write(t), metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := c.Read(readAt)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if !s.Time.Equal(readAt) {
			t.Errorf("%s is stamped %v, want %v", s.Name, s.Time, readAt)
		}
	}
}

// TestReadWithout covers what a kernel, a container or a unit file may hide: all of it makes fewer
// samples and no error.
func TestReadWithout(t *testing.T) {
	tests := []struct {
		name   string
		tree   procTree
		scope  metric.Scope
		absent func(name string) bool
	}{
		{
			"IPv6", newTree().without(sockstat6File), metric.Host,
			func(name string) bool { return strings.Contains(name, "6.") },
		},
		{
			"an empty sockstat6", newTree().with(sockstat6File, ""), metric.Host,
			func(name string) bool { return strings.Contains(name, "6.") },
		},
		{
			"limits", newTree().without(tcpMemFile, udpMemFile, orphansFile, twFile, portsFile), metric.Host,
			func(name string) bool {
				return strings.HasSuffix(name, "_limit") || strings.HasSuffix(name, "_ratio") ||
					strings.HasSuffix(name, "_pressure") || name == "sockstat.ports.range"
			},
		},
		{
			"tcp_max_orphans", newTree().without(orphansFile), metric.Host,
			func(name string) bool { return strings.HasPrefix(name, "sockstat.tcp.orphan_") },
		},
		{
			"limits above zero", newTree().with(orphansFile, "0\n").with(twFile, "0\n").with(tcpMemFile, "100 200 0\n").with(udpMemFile, "0 0 0\n"), metric.Host,
			func(name string) bool { return strings.HasSuffix(name, "_ratio") },
		},
		{
			"UDP memory", newTree().with(sockstatFile, strings.Replace(newTree()[sockstatFile], "inuse 13 mem 6", "inuse 13", 1)), metric.Host,
			func(name string) bool { return name == "sockstat.udp.mem" || name == "sockstat.udp.mem_ratio" },
		},
		{
			"TCP fields but inuse", newTree().with(sockstatFile, strings.Replace(newTree()[sockstatFile], " orphan 8 tw 16 alloc 63 mem 22", "", 1)), metric.Host,
			func(name string) bool {
				return slices.Contains([]string{
					"sockstat.tcp.orphan", "sockstat.tcp.tw", "sockstat.tcp.alloc", "sockstat.tcp.mem",
					"sockstat.tcp.orphan_ratio", "sockstat.tcp.tw_ratio", "sockstat.tcp.mem_ratio",
				}, name)
			},
		},
		{
			"the lines of UDPLITE and FRAG", newTree().with(sockstatFile, "sockets: used 290\nTCP: inuse 40 orphan 8 tw 16 alloc 63 mem 22\nUDP: inuse 13 mem 6\nRAW: inuse 3\n"), metric.Host,
			func(name string) bool {
				return strings.HasPrefix(name, "sockstat.udplite.") || strings.HasPrefix(name, "sockstat.frag.")
			},
		},
		{
			"the line of sockets", newTree().with(sockstatFile, strings.Replace(newTree()[sockstatFile], "sockets: used 290\n", "", 1)), metric.Host,
			func(name string) bool { return name == "sockstat.sockets.used" },
		},
		{
			"nothing but an unknown protocol", newTree().with(sockstatFile, newTree()[sockstatFile]+"MPTCP: inuse 3 mem 4\n"), metric.Host,
			func(string) bool { return false },
		},
		{
			"an unknown field", newTree().with(sockstatFile, strings.Replace(newTree()[sockstatFile], "mem 22", "mem 22 zerocopy 5", 1)), metric.Host,
			func(string) bool { return false },
		},
		{
			"what the whole kernel counts", newTree(), metric.NetNS,
			func(name string) bool {
				d, _ := metric.Lookup(name)
				return d.Scope == metric.Host
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := wholeReading()
			maps.DeleteFunc(want, func(name string, _ float64) bool { return test.absent(name) })
			if test.name == "limits above zero" {
				for _, name := range []string{"sockstat.tcp.orphan_limit", "sockstat.tcp.tw_limit", "sockstat.tcp.mem_limit", "sockstat.udp.mem_limit"} {
					want[name] = 0
				}
			}
			got, err := read(t, test.tree, test.scope)
			if err != nil {
				t.Error(err)
			}
			compare(t, got, want)
		})
	}
}

// TestNetNSReading writes out what a sidecar sends, so that a scope changed in the catalogue by
// mistake is noticed.
func TestNetNSReading(t *testing.T) {
	got, err := read(t, newTree().without(sockstat6File), metric.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"sockstat.conntrack.count", "sockstat.conntrack.limit", "sockstat.conntrack.ratio",
		"sockstat.frag.inuse", "sockstat.frag.memory", "sockstat.ports.range", "sockstat.raw.inuse",
		"sockstat.sockets.used", "sockstat.tcp.abort_on_memory", "sockstat.tcp.inuse",
		"sockstat.tcp.listen_drops", "sockstat.tcp.listen_overflows", "sockstat.tcp.memory_pressures",
		"sockstat.tcp.retrans_segs", "sockstat.tcp.syncookies_sent", "sockstat.tcp.tw", "sockstat.tcp.tw_limit",
		"sockstat.tcp.tw_ratio", "sockstat.udp.inuse", "sockstat.udp.no_ports", "sockstat.udp.rcvbuf_errors",
		"sockstat.udp.sndbuf_errors", "sockstat.udplite.inuse",
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("got %v\nwant %v", names, want)
	}
}

// TestReadThisHost reads the real thing.
func TestReadThisHost(t *testing.T) {
	c, err := New("/proc", metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := c.Read(time.Now())
	if err != nil {
		t.Error(err)
	}
	got := values(t, samples)
	for _, name := range []string{"sockstat.sockets.used", "sockstat.tcp.inuse", "sockstat.tcp.mem", "sockstat.udp.inuse", "sockstat.frag.memory"} {
		if _, found := got[name]; !found {
			t.Errorf("%s is missing", name)
		}
	}
	for name, value := range got {
		if value < 0 || strings.HasSuffix(name, "_ratio") && value > 1.5 {
			t.Errorf("%s = %v", name, value)
		}
	}
}

func TestReadConcurrently(t *testing.T) {
	c, err := New(newTree().write(t), metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 4 {
		go func() {
			var err error
			for i := 0; i < 50 && err == nil; i++ {
				_, err = c.Read(readAt)
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestReadAllocations bounds what a reading costs: files are read, lines are split, and little more.
func TestReadAllocations(t *testing.T) {
	c, err := New(newTree().write(t), metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	const most = 200
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Read(readAt) }); n > most {
		t.Errorf("a reading makes %v allocations, want at most %v", n, most)
	} else {
		t.Logf("a reading makes %v allocations", n)
	}
}
