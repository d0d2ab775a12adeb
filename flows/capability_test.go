package flows

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"socktally/flows/coverage"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"socktally/internal/host"
)

// childOpen prints how a Counter counts, and why not in a better way.
func childOpen([]string) error {
	c, err := Open(Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Print(c.Source())
	for _, part := range []coverage.Part{coverage.TCP, coverage.UDP} {
		fmt.Printf("; %s: %v", part, c.report.Of(part).Because())
	}
	return nil
}

// The capabilities in the documentation are enough. If one is missing, the error names it.
func TestCapabilities(t *testing.T) {
	needPrivilege(t)
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	// Another user has no access to the folder in which `go test` builds.
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{filepath.Dir(dir), dir, path} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := host.Reader{}.Cgroup2()
	for _, tc := range []struct {
		capabilities []uintptr
		want         string
	}{
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, "ebpf; tcp: ; udp: packet_sent (cgroup ROOT): operation not permitted: the process lacks CAP_NET_ADMIN"},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}, "ebpf; tcp: ; udp: "},
		{[]uintptr{unix.CAP_BPF}, "sockdiag; tcp: socket_opened (tp_btf/inet_sock_set_state): operation not permitted: the process lacks CAP_PERFMON; " +
			"udp: packet_sent (cgroup_skb/egress): permission denied: the process lacks CAP_PERFMON and CAP_NET_ADMIN"},
		{nil, "sockdiag; tcp: operation not permitted: the process lacks CAP_BPF and CAP_PERFMON; " +
			"udp: operation not permitted: the process lacks CAP_BPF and CAP_PERFMON and CAP_NET_ADMIN"},
	} {
		cmd := exec.Command(path)
		cmd.Env = append(os.Environ(), childEnv+"=open")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
			AmbientCaps: tc.capabilities,
		}
		out, err := cmd.CombinedOutput()
		if got := strings.ReplaceAll(string(out), root, "ROOT"); err != nil || got != tc.want {
			t.Errorf("%v: got %q, %v; want %q", tc.capabilities, got, err, tc.want)
		}
	}
}
