package integration

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// TestOtherKernels boots Debian's kernels in an emulator. In each it counts a small traffic, reads the memory of
// TCP, whose unit is a page, and asks a daemon's API.
func TestOtherKernels(t *testing.T) {
	guests := t.TempDir()
	for _, k := range []struct {
		debianKernel
		version  string
		source   string // what flows must be counted by
		says     string // in the line of the log that tells it
		pageSize int
	}{
		{debianKernel{"bullseye", "cloud-amd64"}, "5.10.", "sockdiag", "5.10", 4096},
		{debianKernel{"bookworm", "cloud-amd64"}, "6.1.", "ebpf", "ebpf", 4096},
		{debianKernel{"trixie", "cloud-amd64"}, "6.12.", "ebpf", "ebpf", 4096},
		{debianKernel{"sid", "cloud-amd64"}, "", "ebpf", "ebpf", 4096}, // the newest
		{debianKernel{"bookworm", "cloud-arm64"}, "6.1.", "ebpf", "ebpf", 4096},
		{debianKernel{"trixie", "cloud-arm64"}, "6.12.", "ebpf", "ebpf", 4096},
		{debianKernel{"trixie", "arm64-16k"}, "6.12.", "ebpf", "ebpf", 16384},
	} {
		t.Run(k.suite+" "+k.flavour, func(t *testing.T) {
			image := k.fetch(t)
			carried := []string{buildGuest(t, filepath.Join(guests, k.arch()), k.arch())}
			if k.source == "sockdiag" { // a module
				carried = append(carried, image.modules)
			}
			r := readResult(t, image.boot(t, "1024", packInitrd(t, carried...)))
			t.Logf("%s: %s", r.Kernel, r.Log)
			if r.Error != "" || !strings.HasPrefix(r.Kernel, k.version) {
				t.Fatalf("kernel %s: %s", r.Kernel, r.Error)
			}
			if r.Sources[k.source] == 0 || len(r.Sources) != 1 || !strings.Contains(r.Log, k.says) {
				t.Errorf("counted by %v, log %q; want %s and %q", r.Sources, r.Log, k.source, k.says)
			}
			r.checkFlows(t, k.source)
			if r.PageSize != k.pageSize || r.MemoryPages == 0 || r.MemoryKiB != float64(r.MemoryPages*k.pageSize/1024) {
				t.Errorf("once has %v KiB of TCP's memory, the kernel %d pages of %d bytes; want pages of %d", r.MemoryKiB, r.MemoryPages, r.PageSize, k.pageSize)
			}
			t.Logf("%d pages of TCP, %v KiB", r.MemoryPages, r.MemoryKiB)
			for name, n := range map[string]float64{"bytes_sent_by_client": guestLongUp, "bytes_sent_by_server": 1, "tcp_established_connections": 1} {
				if r.Asked[name] != n {
					t.Errorf("the API: %s is %v, want %v; %s", name, r.Asked[name], n, r.AskedError)
				}
			}
		})
	}
}

// buildGuest builds the first process of machines and socktally into a folder, unless it is there, and returns it.
func buildGuest(t *testing.T, dir, arch string) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrExist) {
		return dir
	}
	goBuild(t, arch, filepath.Join(dir, "init"), "guest", "build")
	goBuild(t, arch, filepath.Join(dir, "socktally"), "../..", "build")
	return dir
}

// guestResult is what the guest prints on its console.
type guestResult struct {
	Kernel, Log, Error    string
	Sums                  map[string]int64
	Sources               map[string]int
	Visits                int64
	PageSize, MemoryPages int
	MemoryKiB             float64
	Asked                 map[string]float64
	AskedError            string
}

func readResult(t *testing.T, console string) (r guestResult) {
	t.Helper()
	_, found, _ := strings.Cut(console, "RESULT ")
	line, _, _ := strings.Cut(found, "\n")
	if err := json.Unmarshal([]byte(strings.TrimSpace(line)), &r); err != nil {
		t.Fatalf("the guest printed no result: %v\n%s", err, tail(console))
	}
	return r
}

// checkFlows holds what socktally flows counted to what the guest sent.
func (r guestResult) checkFlows(t *testing.T, source string) {
	t.Helper()
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
	visits := int64(1)
	if source == "sockdiag" { // short connections are not seen
		want = map[string]int64{"tcp.bytes_sent_by_client": guestLongUp, "tcp.bytes_sent_by_server": 0, "udp.packets_sent_by_client": 0}
		visits = 0
	}
	for name, n := range want {
		if r.Sums[name] != n {
			t.Errorf("%s is %d, want %d", name, r.Sums[name], n)
		}
	}
	if r.Visits != visits {
		t.Errorf("%d connections of the process that is gone have its name, want %d", r.Visits, visits)
	}
}
