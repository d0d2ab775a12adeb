package collector

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"socktally/metric"
)

// notOfSockstat says whether a metric has nothing to do with sockstat and its limits.
func notOfSockstat(name string) bool {
	d, _ := metric.Lookup(name)
	return d.Kind == metric.Count || name == "sockstat.tcp.pressure" || strings.HasPrefix(name, "sockstat.conntrack.")
}

// TestReadFaults breaks one file at a time: the error names the file and the fault, and everything
// that the other files give is read all the same.
func TestReadFaults(t *testing.T) {
	fromSockstat := func(name string) bool {
		return !strings.HasSuffix(name, "_limit") && !strings.HasSuffix(name, "_pressure") &&
			!strings.Contains(name, "6.") && name != "sockstat.ports.range" && !notOfSockstat(name)
	}
	but := func(absent func(string) bool, kept ...string) func(string) bool {
		return func(name string) bool { return absent(name) && !slices.Contains(kept, name) }
	}
	nothing := func(string) bool { return false }
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
		{"sockets alone", newTree().with(sockstatFile, "sockets: used 290\n"), but(fromSockstat, "sockstat.sockets.used"), []string{"read sockstat: ", sockstatFile, "no protocol"}},
		{"odd fields", newTree().with(sockstatFile, "TCP: inuse 40 orphan\n"), but(fromSockstat, "sockstat.tcp.inuse"), []string{"read sockstat: ", sockstatFile, `"TCP: inuse 40 orphan": field orphan: no value`}},
		{"not a number", newTree().with(sockstatFile, "TCP: inuse many\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, `"TCP: inuse many"`, `parsing "many"`}},
		{"too large", newTree().with(sockstatFile, "TCP: inuse 99999999999999999999\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, "out of range"}},
		{"too short", newTree().with(sockstatFile, "TCP: inuse\n"), fromSockstat, []string{"read sockstat: ", sockstatFile, `"TCP: inuse": field inuse: no value`}},
		{"blank line", newTree().with(sockstatFile, newTree()[sockstatFile]+"\n"), nothing, []string{"read sockstat: ", sockstatFile, `line "" has no name with fields`}},
		{"not text", newTree().with(sockstatFile, "\x00\xff\x00"), fromSockstat, []string{"read sockstat: ", sockstatFile, "has no name with fields"}},
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
