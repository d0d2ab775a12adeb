package collector

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"socktally/metric"
)

// counterNames are the names by which kernels print what becomes a count.
var counterNames = map[string]string{
	"sockstat.tcp.retrans_segs":     "Tcp RetransSegs",
	"sockstat.tcp.listen_overflows": "TcpExt ListenOverflows",
	"sockstat.tcp.listen_drops":     "TcpExt ListenDrops",
	"sockstat.tcp.syncookies_sent":  "TcpExt SyncookiesSent",
	"sockstat.tcp.memory_pressures": "TcpExt TCPMemoryPressures",
	"sockstat.tcp.abort_on_memory":  "TcpExt TCPAbortOnMemory",
	"sockstat.udp.rcvbuf_errors":    "Udp RcvbufErrors",
	"sockstat.udp.sndbuf_errors":    "Udp SndbufErrors",
	"sockstat.udp.no_ports":         "Udp NoPorts",
}

// TestKernels reads what kernels of several years printed, each with a value of its own in the place of each counter.
func TestKernels(t *testing.T) {
	kernels, err := filepath.Glob("testdata/*.*")
	if err != nil || len(kernels) < 4 {
		t.Fatalf("found the kernels %q, %v", kernels, err)
	}
	for _, dir := range kernels {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			printed := func(name string) string {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			tree, values := newTree(), map[string]float64{}
			for i, name := range []string{"snmp", "netstat"} {
				tree["self/net/"+name] = numbered(printed(name), float64(1000*(i+1)), values)
			}
			for _, name := range []string{"sockstat", "sockstat6", "protocols"} {
				tree["self/net/"+name] = printed(name)
			}
			got, err := read(t, tree, metric.Host)
			if err != nil {
				t.Error(err)
			}
			for name, counter := range counterNames {
				want, printed := values[counter]
				if value, found := got[name]; !printed || !found || value != want {
					t.Errorf("%s = %v, want %v, that of %s", name, value, want, counter)
				}
			}
			for name := range wholeReading() {
				if _, found := got[name]; !found {
					t.Errorf("%s is missing", name)
				}
			}
			if v := got["sockstat.tcp.pressure"]; v != 0 {
				t.Errorf("TCP is short of memory: %v", v)
			}
		})
	}
}

// numbered returns a text of names and values with the values numbered from first on, and notes them by name.
func numbered(text string, first float64, values map[string]float64) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		line, names, _ := strings.Cut(lines[i], ":")
		lines[i+1] = line + ":"
		for _, name := range strings.Fields(names) {
			first++
			values[line+" "+name] = first
			lines[i+1] += fmt.Sprintf(" %v", first)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
