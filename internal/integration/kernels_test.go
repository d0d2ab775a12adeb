package integration

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guestTraffic is what the guest sends: see guest/main.go.
const (
	guestShorts     = 50
	guestShortUp    = 1000
	guestShortDown  = 2000
	guestLongUp     = 1 << 20
	guestDatagrams  = 40 // of 100 bytes, each answered by one of 50
	guestQueries    = 12
	guestTCPQueries = 6
	guestQuerySize  = 27
)

// TestOtherKernels boots Debian's kernels in an emulator and counts a small traffic in each.
func TestOtherKernels(t *testing.T) {
	needTool(t, "qemu-system-x86_64")
	needTool(t, "cpio")
	kernels := []struct {
		suite, version string
		source         string // what flows must be counted by
		says           string // in the line of the log that tells it
	}{
		{"bullseye", "5.10.", "sockdiag", "5.10"},
		{"bookworm", "6.1.", "ebpf", "ebpf"},
		{"trixie", "6.12.", "ebpf", "ebpf"},
		{"sid", "", "ebpf", "ebpf"}, // the newest
	}
	folder := kernelFolder(t)
	guest := buildGuest(t)
	for _, k := range kernels {
		t.Run(k.suite, func(t *testing.T) {
			if out, err := exec.Command("./fetch-kernels.sh", folder, k.suite).CombinedOutput(); err != nil {
				skip(t, "cannot fetch the kernel: %v\n%s", err, out)
			}
			r := boot(t, filepath.Join(folder, k.suite, "vmlinuz"), packInitrd(t, guest, filepath.Join(folder, k.suite)))
			t.Logf("%s: %s", r.Kernel, r.Log)
			if r.Error != "" || !strings.HasPrefix(r.Kernel, k.version) {
				t.Fatalf("kernel %s: %s", r.Kernel, r.Error)
			}
			if r.Sources[k.source] == 0 || len(r.Sources) != 1 || !strings.Contains(r.Log, k.says) {
				t.Errorf("counted by %v, log %q; want %s and %q", r.Sources, r.Log, k.source, k.says)
			}
			if visits := map[string]int64{"ebpf": 1}[k.source]; r.Visits != visits {
				t.Errorf("%d connections of the process that is gone have its name, want %d", r.Visits, visits)
			}
			const tcpDNS = guestTCPQueries * (guestQuerySize + 2)
			want := map[string]int64{
				"tcp.bytes_sent_by_client":        guestShorts*guestShortUp + guestLongUp + tcpDNS,
				"tcp.bytes_sent_by_server":        guestShorts*guestShortDown + tcpDNS,
				"tcp.tcp_established_connections": guestShorts + 2,
				"tcp.tcp_closed_connections":      guestShorts + 1,
				"tcp.tcp_refusals":                0,
				"udp.bytes_sent_by_client":        guestDatagrams*100 + guestQueries*guestQuerySize,
				"udp.bytes_sent_by_server":        guestDatagrams*50 + guestQueries*guestQuerySize,
				"udp.packets_sent_by_client":      guestDatagrams + guestQueries,
				"udp.dns_total_requests":          guestQueries,
				"udp.dns_responses.nxdomain":      guestQueries,
				"tcp.dns_total_requests":          guestTCPQueries,
				"tcp.dns_responses.nxdomain":      guestTCPQueries,
			}
			if k.source == "sockdiag" { // short connections are not seen
				want = map[string]int64{"tcp.bytes_sent_by_client": guestLongUp, "tcp.bytes_sent_by_server": 0, "udp.packets_sent_by_client": 0}
			}
			for name, n := range want {
				if r.Sums[name] != n {
					t.Errorf("%s is %d, want %d", name, r.Sums[name], n)
				}
			}
		})
	}
}

// kernelFolder is kept between runs, as the kernels are 10 MB each.
func kernelFolder(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(cache, "socktally-kernels")
}

// buildGuest builds the guest's first process and socktally into a folder.
func buildGuest(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, source := range map[string]string{"init": "guest", "socktally": "../.."} {
		cmd := exec.Command("go", "build", "-C", source, "-trimpath", "-o", filepath.Join(dir, name), ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	return dir
}

// packInitrd packs all files of some folders, but kernels.
func packInitrd(t *testing.T, folders ...string) string {
	t.Helper()
	initrd := filepath.Join(t.TempDir(), "initrd")
	for _, folder := range folders {
		pack := exec.Command("sh", "-c", `find . -type f ! -name vmlinuz | cpio --quiet -o -H newc >>"$0"`, initrd)
		pack.Dir = folder
		if out, err := pack.CombinedOutput(); err != nil {
			t.Fatalf("cpio: %v\n%s", err, out)
		}
	}
	return initrd
}

// guestResult is what the guest prints on its console.
type guestResult struct {
	Kernel, Log, Error string
	Sums               map[string]int64
	Sources            map[string]int
	Visits             int64
}

func boot(t *testing.T, kernel, initrd string) guestResult {
	t.Helper()
	const bound = 5 * time.Minute // it takes half a minute without hardware virtualisation
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024", "-nographic", "-no-reboot",
		"-nodefaults", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 panic=-1 quiet mitigations=off").CombinedOutput()
	if err != nil {
		t.Fatalf("qemu: %v\n%s", err, tail(string(out)))
	}
	var r guestResult
	_, found, _ := strings.Cut(string(out), "RESULT ")
	line, _, _ := strings.Cut(found, "\n")
	if err := json.Unmarshal([]byte(strings.TrimSpace(line)), &r); err != nil {
		t.Fatalf("the guest printed no result: %v\n%s", err, tail(string(out)))
	}
	return r
}
