package flows

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// privilegedVar makes a test fail where it would skip.
const privilegedVar = "SOCKTALLY_TEST_PRIVILEGED"

// lacks skips a test that lacks something here, or fails it where it has to run.
func lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(privilegedVar) == "1" {
		t.Fatalf("%s=1, but the test needs %s", privilegedVar, what)
	}
	t.Skipf("skipped: the test needs %s", what)
}

// needPrivilege is for a test that makes network namespaces and loads programs into the kernel.
func needPrivilege(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacks(t, "root: it makes network namespaces and loads BPF programs")
	}
}

// packages are those of Debian that a program is in, where they have another name.
var packages = map[string]string{
	"bash": "bash", "curl": "curl", "dig": "bind9-dnsutils", "dnsmasq": "dnsmasq-base", "dnsperf": "dnsperf", "ip": "iproute2", "iperf3": "iperf3", "nft": "nftables",
	"nginx": "nginx-light", "nsd": "nsd", "ss": "iproute2", "unshare": "util-linux", "wrk": "wrk",
}

// needProgram is for a test that runs programs of others.
func needProgram(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			lacks(t, "the program "+name+", of the package "+packages[name])
		}
	}
}

// needHostPIDs is for a test that compares PIDs. The BPF programs have those of the initial PID namespace. A test in
// another PID namespace sees other numbers.
func needHostPIDs(t testing.TB) {
	t.Helper()
	// The inode number of the initial PID namespace, from include/linux/proc_ns.h.
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || !strings.Contains(own, "[4026531836]") {
		lacks(t, "the PID namespace of the host: this is one of its own")
	}
}
