package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// coreTests are the tests of package flows that run in an emulated machine each time: what must be exact, and
// each way to count that a kernel may refuse. coreFamilies begin the names of more.
var (
	coreTests = []string{
		"TestBytesAreExact", "TestChurnIsExact", "TestOlderConnections", "TestNetnsScope", "TestEndings", "TestFailuresHaveColumns",
		"TestInheritedListener", "TestProcessDeath", "TestShortLivedProcessesAreNamed",
		"TestUDPIsExact", "TestUDPSocketsOlderThanTheCounter", "TestUDPScope",
		"TestDNSWithDig", "TestDNSFailureAndTruncation", "TestSockDiag",
		"TestOlderConnectionsAreNotFound", "TestTCPIsRefused", "TestUDPIsRefusedInPart",
	}
	coreFamilies = []string{"TestWalk"}
)

const (
	// flowsLogVar names a file with what `go test -v` printed, of package flows and perhaps others, on this
	// machine's own kernel.
	flowsLogVar = "SOCKTALLY_TEST_FLOWS_LOG"
	// longVar asks for all tests in more kernels.
	longVar = "SOCKTALLY_TEST_LONG"
)

// TestFlowsOnOtherKernels runs tests of package flows in Debian's kernels, which refuse nothing: a core of
// them, and those that this machine's own kernel refused. It fails unless all of these pass there, and says
// which test ran on which kernel.
func TestFlowsOnOtherKernels(t *testing.T) {
	long := os.Getenv(longVar) == "1"
	kernels := []debianKernel{{"trixie", "cloud-amd64"}}
	if long {
		kernels = append(kernels, debianKernel{"bookworm", "cloud-amd64"})
	}
	root := testsRoot(t)
	program := filepath.Join(root, "flows.test")
	goBuild(t, "amd64", program, "../../flows", "test", "-c")
	all := strings.Fields(mustRun(t, program, "-test.list", "^Test"))
	asked := slices.Clone(coreTests)
	if long {
		asked = append(asked, all...)
	}
	for _, name := range all {
		if slices.ContainsFunc(coreFamilies, func(family string) bool { return strings.HasPrefix(name, family) }) {
			asked = append(asked, name)
		}
	}
	var runs []testRun
	t.Run("own kernel", func(t *testing.T) {
		path := os.Getenv(flowsLogVar)
		if path == "" {
			skip(t, "needs %s, a file with what go test -v printed", flowsLogVar)
		}
		log := text(t, path)
		own, err := runInLog(log, "socktally/flows")
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for name := range parseRun(log).refusals {
			if _, ofFlows := own.refusals[name]; !ofFlows {
				t.Errorf("%s was skipped, and is not of package flows: no other kernel runs it", name)
			}
		}
		own.kernel = "own " + strings.TrimSpace(text(t, "/proc/sys/kernel/osrelease"))
		for _, name := range own.unexplained() {
			t.Errorf("%s was skipped, and not because the kernel refuses something", name)
		}
		runs = append(runs, own)
		asked = append(asked, own.refused()...)
	})
	slices.Sort(asked)
	asked = slices.Compact(asked)
	for _, k := range kernels {
		t.Run(k.suite, func(t *testing.T) {
			run := k.fetch(t).runTests(t, root, asked, !long)
			runs = append(runs, run)
			failed := run.withoutPass(asked)
			for _, name := range failed {
				t.Errorf("%s has not passed: %s %s", name, run.outcomes[name], run.refusals[name])
			}
			if len(failed) > 0 {
				t.Log(run.log)
			}
		})
	}
	t.Logf("tests of package flows, by kernel:\n%s", tableOf(all, runs))
}

// testsRoot makes the files of a machine with the programs that tests of flows call.
func testsRoot(t *testing.T) string {
	t.Helper()
	// Nothing is installed: the packages' files are enough. The rest is what their scripts would make.
	root := mmdebstrap(t, "bookworm", []string{"bash", "bind9-dnsutils", "coreutils", "curl", "dash", "dnsmasq-base", "dnsperf", "iproute2",
		"kmod", "libc-bin", "mount", "nftables", "nginx-light", "nsd", "util-linux", "wrk"},
		"--variant=extract", "--dpkgopt=path-exclude=/usr/share/*", "--dpkgopt=path-exclude=/usr/lib/*/perl*")
	for path, content := range map[string]string{
		"etc/passwd":        "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
		"etc/group":         "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
		"etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
		"etc/nsswitch.conf": "hosts: files dns\n",
	} {
		if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goBuild(t, "amd64", filepath.Join(root, "init"), "guest", "build")
	return root
}

// runTests runs tests of the program in root on the kernel, in an emulated machine.
func (k kernelImage) runTests(t *testing.T, root string, names []string, short bool) testRun {
	t.Helper()
	carried, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	arguments := fmt.Sprintf("-test.v\n-test.timeout=60m\n-test.short=%v\n-test.run=%s\n", short, patternOf(names))
	if err := os.WriteFile(filepath.Join(carried, "flows.args"), []byte(arguments), 0o644); err != nil {
		t.Fatal(err)
	}
	releases, err := os.ReadDir(filepath.Join(k.modules, "lib/modules"))
	if err != nil || len(releases) != 1 {
		t.Fatalf("the kernel has no modules, or not of one release: %v, %v", releases, err)
	}
	console := k.boot(t, "2048", packInitrd(t, root, k.modules, carried), log)
	run := parseRun(strings.ReplaceAll(text(t, log), "\r", ""))
	run.kernel = releases[0].Name()
	if len(run.outcomes) == 0 {
		t.Fatalf("no test ran:\n%s\n%s", tail(console), tail(run.log))
	}
	return run
}
