package collector

import (
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
		case s.Kind != d.Kind || s.Interval != 0 || len(s.Tags) != 0:
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
		"sockstat.frag.inuse", "sockstat.frag.memory", "sockstat.ports.range", "sockstat.raw.inuse",
		"sockstat.sockets.used", "sockstat.tcp.inuse", "sockstat.tcp.tw", "sockstat.tcp.tw_limit",
		"sockstat.tcp.tw_ratio", "sockstat.udp.inuse", "sockstat.udplite.inuse",
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("got %v\nwant %v", names, want)
	}
}

// TestReadFaults breaks one file at a time: the error names the file and the fault, and everything
// that the other files give is read all the same.
func TestReadFaults(t *testing.T) {
	fromSockstat := func(name string) bool {
		return !strings.HasSuffix(name, "_limit") && !strings.HasSuffix(name, "_pressure") &&
			!strings.Contains(name, "6.") && name != "sockstat.ports.range"
	}
	fromSockstat6 := func(name string) bool { return strings.Contains(name, "6.") }
	tcpMem := func(name string) bool {
		return slices.Contains([]string{"sockstat.tcp.mem_pressure", "sockstat.tcp.mem_limit", "sockstat.tcp.mem_ratio"}, name)
	}
	tests := []struct {
		name   string
		tree   procTree
		absent func(name string) bool
		errors []string // parts of the error's text
	}{
		{"no sockstat", newTree().without(sockstatFile), fromSockstat, []string{"read sockstat: open ", sockstatFile, "no such file"}},
		{"empty", newTree().with(sockstatFile, ""), fromSockstat, []string{"read sockstat: ", sockstatFile, "no protocol"}},
		{"sockets alone", newTree().with(sockstatFile, "sockets: used 1\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, "no protocol"}},
		{"odd fields", newTree().with(sockstatFile, "TCP: inuse 1 orphan\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, "malformed line", `"TCP: inuse 1 orphan"`}},
		{"not a number", newTree().with(sockstatFile, "TCP: inuse many\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, `"TCP: inuse many"`, `parsing "many"`}},
		{"too large", newTree().with(sockstatFile, "TCP: inuse 99999999999999999999\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, "out of range"}},
		{"too short", newTree().with(sockstatFile, "TCP: inuse\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, "malformed", `"TCP: inuse"`}},
		{"blank line", newTree().with(sockstatFile, newTree()[sockstatFile]+"\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, "malformed"}},
		{"not text", newTree().with(sockstatFile, "\x00\xff\x00"), fromSockstat, []string{"read sockstat: ", sockstatFile, "malformed"}},
		{"sockstat6", newTree().with(sockstat6File, "TCP6: inuse x\n"), fromSockstat6, []string{"read sockstat6: ", sockstat6File, `parsing "x"`}},
		{"limit with too few numbers", newTree().with(tcpMemFile, "100 200\n"), tcpMem, []string{"read limit: ", tcpMemFile, ": found 2 numbers, want 3"}},
		{"empty limit", newTree().with(tcpMemFile, ""), tcpMem, []string{"read limit: ", tcpMemFile, ": found 0 numbers, want 3"}},
		{"limit that is no number", newTree().with(tcpMemFile, "100 200 all\n"), tcpMem, []string{"read limit: ", tcpMemFile, `parsing "all"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := wholeReading()
			maps.DeleteFunc(want, func(name string, _ float64) bool { return test.absent(name) })
			got, err := read(t, test.tree, metric.Host)
			compare(t, got, want)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range test.errors {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

// TestReadFaultsAllAtOnce has three broken files and one error with a line for each.
func TestReadFaultsAllAtOnce(t *testing.T) {
	_, err := read(t, newTree().with(sockstatFile, "x").with(sockstat6File, "y").with(portsFile, "z"), metric.Host)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three lines, got: %v", err)
	}
}

// TestReadWithoutPermission runs itself as the user nobody where it is root, whom no mode stops.
func TestReadWithoutPermission(t *testing.T) {
	const rootVariable = "SOCKTALLY_TEST_PROC_ROOT"
	if root := os.Getenv(rootVariable); root != "" {
		checkUnreadable(t, root)
		return
	}
	root := newTree().write(t)
	for _, path := range []string{sockstatFile, twFile} {
		if err := os.Chmod(filepath.Join(root, path), 0); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		checkUnreadable(t, root)
		return
	}
	// nobody must reach the tree and this binary, which go test keeps from others.
	open := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(open, "collector.test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, filepath.Dir(open)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "-test.run=^TestReadWithoutPermission$")
	cmd.Dir = "/"
	cmd.Env = []string{rootVariable + "=" + root}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if os.IsPermission(err) {
		t.Skipf("root may not become another user here, or may not run a file in %s: %v", open, err)
	}
	if err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// checkUnreadable reads a tree of which two files cannot be opened.
func checkUnreadable(t *testing.T, root string) {
	c, err := New(root, metric.Host)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := c.Read(readAt)
	if err == nil {
		t.Fatal("no error")
	}
	for _, path := range []string{sockstatFile, twFile} {
		want := fmt.Sprintf("open %s: permission denied", filepath.Join(root, path))
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if got := values(t, samples); got["sockstat.tcp6.inuse"] != 27 || got["sockstat.ports.range"] != 28232 {
		t.Errorf("what can be read was not: %v", got)
	}
}

func TestNewWithoutProc(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, root, want string }{
		{"nothing there", filepath.Join(empty, "absent"), filepath.Join(empty, "absent")},
		{"a file", file, "not a directory"},
		{"not proc", empty, "is proc mounted at " + empty + "?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.root, metric.Host)
			if err == nil || !strings.HasPrefix(err.Error(), "open proc file system: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
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
