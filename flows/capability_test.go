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

// childOpen prints how a Counter counts, and what stood in the way of better.
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

// What the documentation says is needed is enough, and what is missing is named.
func TestCapabilities(t *testing.T) {
	needPrivilege(t)
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	// Another user may not look into the directory that `go test` builds in.
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
