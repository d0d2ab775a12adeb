package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"socktally/config"
	"socktally/metric"
)

// allowing are proc and sys file systems of a host that allows everything.
var allowing = map[string]string{
	"proc/sys/kernel/osrelease":              "6.1.0-13-amd64\n",
	"proc/sys/net/ipv4/tcp_max_orphans":      "65536\n",
	"proc/sys/net/ipv4/ip_local_port_range":  "32768\t60999\n",
	"proc/self/net/sockstat":                 "sockets: used 12\nTCP: inuse 3 orphan 0 tw 1 alloc 5 mem 2\n",
	"proc/self/status":                       "Name:\tsocktally\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
	"proc/self/mountinfo":                    "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
	"proc/self/limits":                       "Limit Soft Hard Units\nMax locked memory         8388608              8388608              bytes\n",
	"sys/kernel/btf/vmlinux":                 "",
	"sys/kernel/security/lockdown":           "none [integrity] confidentiality\n",
	"state/spool/http/0001-1-9-000000.spool": "some data",
}

// options are those of an examination of allowing, with files changed or, where the text is "-", removed.
func options(t *testing.T, changed map[string]string) Options {
	t.Helper()
	root := t.TempDir()
	for _, files := range []map[string]string{allowing, changed} {
		for name, text := range files {
			path := filepath.Join(root, name)
			if text == "-" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now()
	schedule, err := config.ParseSchedule("@every 15s", now)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Proc: root + "/proc", Sys: root + "/sys", Process: "self", Now: now, Config: config.Config{
		Forward: []string{"stdout"}, Scope: metric.Host, Schedule: schedule, Flows: config.Flows{Mode: "auto", Schedule: schedule},
		StateDir: root + "/state", Spool: config.Spool{MaxBytes: 1 << 20, MaxAge: time.Hour},
	}}
}

// faults returns the findings that are not OK, one line for each. It fails the test if one has no remedy.
func faults(t *testing.T, findings []Finding) string {
	t.Helper()
	var all []string
	for _, f := range findings {
		if f.State == OK {
			continue
		}
		if f.Remedy == "" {
			t.Errorf("%s has no remedy", f.Check)
		}
		all = append(all, fmt.Sprintf("%s %s: %s", f.State, f.Check, f.Text))
	}
	return strings.Join(all, "\n")
}

func TestHost(t *testing.T) {
	const status = "CapEff:\t%s\nSeccomp:\t2\n"
	tests := []struct {
		name    string
		changed map[string]string
		change  func(*config.Config)
		want    string // the beginnings of the faults, a line each
		code    int
	}{
		{"all is well", nil, nil, "", 0},
		{"old kernel", map[string]string{"proc/sys/kernel/osrelease": "5.10.0-8-amd64\n"}, nil, "less kernel: 5.10.0", 1},
		{"flows off", map[string]string{"proc/sys/kernel/osrelease": "5.10.0\n", "proc/self/status": "-", "sys/kernel/btf/vmlinux": "-"},
			func(c *config.Config) { c.Flows.Mode = "off" }, "", 0},
		{"no BTF", map[string]string{"sys/kernel/btf/vmlinux": "-"}, nil, "less btf: ", 1},
		{"lockdown", map[string]string{"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"}, nil, "less lockdown: confidentiality", 1},
		{"no securityfs", map[string]string{"sys/kernel/security/lockdown": "-"}, nil, "", 0},
		{"no capability", map[string]string{"proc/self/status": fmt.Sprintf(status, "0")}, nil,
			"less capabilities: held: none; missing: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE", 1},
		{"no CAP_NET_ADMIN", map[string]string{"proc/self/status": fmt.Sprintf(status, "c000000000")}, nil,
			"less capabilities: held: CAP_BPF, CAP_PERFMON; missing: CAP_NET_ADMIN, CAP_SYS_PTRACE: UDP and DNS", 1},
		{"those of the service", map[string]string{"proc/self/status": fmt.Sprintf(status, "000000c000001000")}, nil, "", 0},
		{"CAP_SYS_ADMIN", map[string]string{"proc/self/status": fmt.Sprintf(status, "200000")}, nil, "", 0},
		{"no status", map[string]string{"proc/self/status": "-"}, nil, "less capabilities: unknown", 1},
		{"no control groups", map[string]string{"proc/self/mountinfo": "30 23 0:26 / / rw - ext4 /dev/vda rw\n"}, nil, "less cgroup: ", 1},
		{"namespace", map[string]string{"proc/sys/net/ipv4/tcp_max_orphans": "-"}, nil, "less namespace: a network namespace of its own", 1},
		{"sidecar", map[string]string{"proc/sys/net/ipv4/tcp_max_orphans": "-"}, func(c *config.Config) { c.Scope = metric.NetNS }, "", 0},
		{"ProcSubset", map[string]string{"proc/sys/net/ipv4/tcp_max_orphans": "-", "proc/sys/net/ipv4/ip_local_port_range": "-"}, nil,
			"less namespace: /proc/sys/net is not visible", 1},
		{"no sockstat", map[string]string{"proc/self/net/sockstat": "-", "proc/sys/net/ipv4/ip_local_port_range": "-", "proc/sys/net/ipv4/tcp_max_orphans": "-"}, nil,
			"less namespace: \nbad sockstat: read sockstat: ", 2},
		{"bad limit", map[string]string{"proc/sys/net/ipv4/tcp_max_orphans": "many"}, nil, "less sockstat: ", 1},
		{"unreadable state", map[string]string{"state/spool/stdout/unreadable/x.spool": "?"}, nil, "less spool: stdout: 0 files", 1},
		{"state is a file", map[string]string{"state/spool/stdout": "?", "state/socktally.db/x": ""}, nil, "less store: ", 1},
		{"no spool", nil, func(c *config.Config) { c.Spool.MaxBytes = 0 }, "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := options(t, test.changed)
			if test.change != nil {
				test.change(&o.Config)
			}
			findings := Examine(context.Background(), o)
			got := faults(t, findings)
			lines, wanted := strings.Split(got, "\n"), strings.Split(test.want, "\n")
			if len(lines) != len(wanted) {
				t.Fatalf("got\n%s\nwant\n%s", got, test.want)
			}
			for i, want := range wanted {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got %q, want %q", lines[i], want)
				}
			}
			if code := ExitCode(findings); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

// find returns the findings of a check.
func find(findings []Finding, check string) string {
	var all []string
	for _, f := range findings {
		if f.Check == check {
			all = append(all, fmt.Sprintf("%s %s", f.State, f.Text))
		}
	}
	return strings.Join(all, "\n")
}

func TestSpoolIsShown(t *testing.T) {
	o := options(t, nil)
	o.Config.Forward = []string{"http"}
	o.Config.HTTP.URL = "http://127.0.0.1:1"
	if got := find(Examine(context.Background(), o), "spool"); !strings.HasPrefix(got, "ok http: 1 files of 9 bytes wait, at most 1048576 bytes and 1h0m0s") {
		t.Errorf("got %q", got)
	}
}

// TestUDPReceiver uses real sockets of this machine.
func TestUDPReceiver(t *testing.T) {
	o := options(t, nil)
	o.Proc = "/proc"
	o.Config.Forward = []string{"dogstatsd"}
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Logf("not here: %v", err) // IPv6 is off
			continue
		}
		_, port, err := net.SplitHostPort(c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		host := "127.0.0.1"
		if at == "[::1]:0" {
			host = "::1"
		}
		o.Config.DogStatsD.Address = config.Address{Network: "udp", Target: net.JoinHostPort(host, port)}
		if got := find(Examine(context.Background(), o), "receiver"); !strings.HasPrefix(got, "ok udp://") || !strings.HasSuffix(got, "has dropped 0 datagrams") {
			t.Errorf("%s: got %q", at, got)
		}
		c.Close()
		if got := find(Examine(context.Background(), o), "receiver"); !strings.HasPrefix(got, "bad udp://") {
			t.Errorf("%s, closed: got %q", at, got)
		}
	}

	// A receiver that does not read drops datagrams when its buffer is full.
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	sender, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for range 100 {
		if _, err := sender.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	o.Config.DogStatsD.Address = config.Address{Network: "udp", Target: c.LocalAddr().String()}
	if got := find(Examine(context.Background(), o), "receiver"); !strings.HasPrefix(got, "less udp://") || strings.Contains(got, "dropped 0 ") {
		t.Errorf("got %q", got)
	}
	o.Config.DogStatsD.Address.Target = "192.0.2.1:8125"
	if got := find(Examine(context.Background(), o), "receiver"); !strings.Contains(got, "another host") {
		t.Errorf("got %q", got)
	}
}

func TestUnixReceiver(t *testing.T) {
	o := options(t, nil)
	o.Config.Forward = []string{"dogstatsd"}
	for _, kind := range []string{"unixgram", "unix"} {
		path := filepath.Join(t.TempDir(), "s")
		o.Config.DogStatsD.Address = config.Address{Network: "unix", Target: path}
		if got := find(Examine(context.Background(), o), "receiver"); !strings.HasPrefix(got, "bad unix://") {
			t.Errorf("%s: got %q", kind, got)
		}
		var err error
		var closer interface{ Close() error }
		if kind == "unix" {
			closer, err = net.Listen(kind, path)
		} else {
			closer, err = net.ListenPacket(kind, path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := find(Examine(context.Background(), o), "receiver"); !strings.HasPrefix(got, "ok unix://") {
			t.Errorf("%s: got %q", kind, got)
		}
		closer.Close()
	}
}

// TestKey checks that the key is sent to the intake alone, and only in a probe.
func TestKey(t *testing.T) {
	const secret = "0123456789abcdef"
	var shown []string
	answer := http.StatusOK
	intake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.Header.Get("DD-API-KEY"))
		w.WriteHeader(answer)
	}))
	defer intake.Close()
	for _, test := range []struct {
		name, key string
		probe     bool
		answer    int
		want      string
		shown     string
	}{
		{"no probe", secret, false, 200, "ok set; --probe tries it", ""},
		{"accepted", secret, true, 200, "ok accepted", secret},
		{"refused", secret, true, 403, "bad refused: 403", secret},
		{"no intake", secret, true, 404, "less not known", secret},
		{"none", "", true, 200, "ok none", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			shown, answer = nil, test.answer
			o := options(t, nil)
			o.Config.Flows.Mode = "off"
			o.Config.Forward = []string{"http"}
			o.Config.HTTP.URL, o.Config.HTTP.APIKey, o.Probe = intake.URL, config.Secret(test.key), test.probe
			findings := Examine(context.Background(), o)
			if got := find(findings, "key"); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if len(shown) != 1 || shown[0] != test.shown {
				t.Errorf("the intake was shown %q, want %q", shown, test.shown)
			}
			if all := fmt.Sprintf("%+v", findings); strings.Contains(all, secret) {
				t.Errorf("the key is in %s", all)
			}
		})
	}
	intake.Close()
	o := options(t, nil)
	o.Config.Forward, o.Config.HTTP.URL, o.Config.HTTP.APIKey = []string{"http"}, intake.URL, secret
	if got := find(Examine(context.Background(), o), "receiver"); !strings.HasPrefix(got, "bad "+intake.URL) {
		t.Errorf("got %q", got)
	}
}

// TestProxyOfAnotherProcess asks the intake as that process does, by its HTTPS_PROXY.
func TestProxyOfAnotherProcess(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer proxy.Close()
	for process, want := range map[string]int{"self": 0, "1": 1} {
		asked = nil
		o := options(t, nil)
		o.Process = process
		o.Config.Flows.Mode = "off"
		o.Config.Forward = []string{"http"}
		// A loopback address, which net/http asks without a proxy whatever the environment of the test says.
		o.Config.HTTP = config.HTTP{URL: "https://127.0.0.1:1", Proxy: config.Secret(proxy.URL)}
		Examine(context.Background(), o)
		if len(asked) != want || want > 0 && asked[0] != "CONNECT 127.0.0.1:1" {
			t.Errorf("%s: the proxy was asked for %q, want %d requests", process, asked, want)
		}
	}
}
