package flows

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/record"
)

// runs runs a program in the namespace to its end, with this environment and no other.
func (ns *namespace) runs(env []string, name string, args ...string) *exec.Cmd {
	ns.t.Helper()
	needProgram(ns.t, name)
	cmd := exec.Command(name, args...)
	cmd.Env = env
	ns.do(func() error {
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() < 0 {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	})
	return cmd
}

// webServer answers curl at serverIPv4.
func webServer(t *testing.T, server *namespace) (url string, port uint16) {
	t.Helper()
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Read(make([]byte, 1024))
				fmt.Fprint(c, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
			}()
		}
	}()
	return "http://" + l.Addr().String(), portOf(l.Addr().String())
}

func portOf(address string) uint16 {
	var p uint16
	fmt.Sscan(address[strings.LastIndexByte(address, ':')+1:], &p)
	return p
}

// byService is the number of closed connections by the client's service.
func byService(records []record.Flow) map[string]uint64 {
	sums := make(map[string]uint64)
	for _, r := range records {
		sums[r.Client.Owner.Service] += r.Closed
	}
	return sums
}

// A curl runs for a few milliseconds and ends long before the tally. Its service is known all the same, wherever it is
// in the environment, and however large the environment is.
func TestShortLivedProcessesAreNamed(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	url, port := webServer(t, server)
	counter := openFor(t, Options{Mode: EBPF})
	fill := func(n int) []string {
		var env []string
		for ; n > 0; n -= 1000 {
			env = append(env, fmt.Sprintf("FILL_%d=%s", n, strings.Repeat("x", min(n, 1000)-12)))
		}
		return env
	}
	want := make(map[string]uint64)
	for i, env := range [][]string{
		nil, fill(1000), fill(1700), fill(3000), fill(15_000), fill(17_000), fill(60_000), fill(64_000),
		{"DD_SERVICE_MAPPING=x:y"},
	} {
		for j := range 3 {
			service := fmt.Sprintf("svc-%d-%d", i, j)
			want[service] = 1
			client.runs(append(env, "DD_SERVICE="+service, "DD_ENV=e", "DD_VERSION=v", "DD_TAGS=team:t"), "curl", "-s", url)
		}
	}
	client.runs([]string{"HOME=/"}, "curl", "-s", url)
	want["curl"] = 1
	_, records := tallyUntil(t, counter, port, uint64(len(want)))
	got := byService(records)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, r := range records {
		o := r.Client.Owner
		if named := o.Service != "curl"; o.Process != "curl" || (o.Env == "e" && o.Version == "v" && fmt.Sprint(o.Tags) == "[team:t]") != named {
			t.Errorf("got %+v", o)
		}
		if s := r.Server.Owner; s.PID != uint32(os.Getpid()) || strings.HasPrefix(s.Service, "svc-") {
			t.Errorf("the server is %+v", s)
		}
	}
	wantNoLosses(t, counter)
}

// An environment that is too large to be copied is read from /proc while the process runs.
func TestLargeEnvironment(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 0)
	env := []string{"A=" + strings.Repeat("x", 100_000), "B=" + strings.Repeat("x", 100_000), "DD_SERVICE=large"}
	end := client.holds(env, l)
	if _, records := tallyUntil(t, counter, port(l), 0); len(records) != 1 || records[0].Client.Owner.Service != "large" {
		t.Errorf("got %+v", records)
	}
	end()
	_, records := tallyUntil(t, counter, port(l), 1)
	if got := byService(records); got["large"] != 1 {
		t.Errorf("got %v", got)
	}
	wantNoLosses(t, counter)
}

// A process that executes another program is then counted as another process.
func TestExecution(t *testing.T) {
	needHostPIDs(t)
	needProgram(t, "bash", "curl")
	client, server := newWire(t)
	url, port := webServer(t, server)
	counter := openFor(t, Options{Mode: EBPF})
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d; echo >&3; exec 3>&-; DD_SERVICE=second exec curl -s %s`, serverIPv4, port, url)
	cmd := client.runs([]string{"DD_SERVICE=first", "PATH=" + os.Getenv("PATH")}, "bash", "-c", script)
	_, records := tallyUntil(t, counter, port, 2)
	if got := byService(records); got["first"] != 1 || got["second"] != 1 {
		t.Errorf("got %v", got)
	}
	for _, r := range records {
		want := map[string]string{"first": "bash", "second": "curl"}[r.Client.Owner.Service]
		if r.Client.Owner.PID != uint32(cmd.Process.Pid) || r.Client.Owner.Process != want {
			t.Errorf("got %+v", r.Client.Owner)
		}
	}
}

// holds starts a process that connects to l and keeps the connection open. The returned function lets it send a byte and
// end.
func (ns *namespace) holds(env []string, l net.Listener) (end func()) {
	ns.t.Helper()
	cmd := exec.Command("bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo ready; read; echo >&3", serverIPv4, port(l)))
	cmd.Env = env
	in, err := cmd.StdinPipe()
	if err != nil {
		ns.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		ns.t.Fatal(err)
	}
	ns.do(cmd.Start)
	end = func() {
		in.Close()
		cmd.Wait()
	}
	ns.t.Cleanup(end)
	if _, err := out.Read(make([]byte, 10)); err != nil {
		ns.t.Fatal(err)
	}
	return end
}

// A process is older than the Counter and ends before the tally.
func TestOlderProcessIsNamed(t *testing.T) {
	needHostPIDs(t)
	client, server := newWire(t)
	l := server.listen("tcp4", addrPort(serverIPv4, 1080)) // the lower port is the server's
	go exchange(l, 0)
	end := client.holds([]string{"DD_SERVICE=older"}, l)
	counter := openFor(t, Options{Mode: EBPF})
	// The connection is idle: this tally only reads the snapshots of processes.
	if _, records := tallyUntil(t, counter, port(l), 0); len(records) != 0 {
		t.Errorf("got %+v", records)
	}
	end()
	_, records := tallyUntil(t, counter, port(l), 1)
	if got := byService(records); got["older"] != 1 {
		t.Errorf("got %v", got)
	}
}

// nginx overwrites its environment with its title after it has called listen.
func TestOverwrittenEnvironment(t *testing.T) {
	needProgram(t, "nginx", "curl")
	client, server := newWire(t)
	counter := openFor(t, Options{Mode: EBPF})
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, serverIPv4), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx := exec.Command("nginx", "-c", conf, "-e", filepath.Join(dir, "error.log"))
	nginx.Env = []string{"PADDING=" + strings.Repeat("x", 200), "DD_SERVICE=shop-front"}
	server.do(nginx.Start)
	defer func() {
		nginx.Process.Signal(unix.SIGQUIT)
		nginx.Wait()
	}()
	server.awaitListener(8080)
	await(t, func() error {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", nginx.Process.Pid))
		if err == nil && strings.Contains(string(environ), "shop-front") {
			err = fmt.Errorf("nginx has not written over its environment: %q", environ)
		}
		return err
	})
	client.command("", "curl", "-s", "http://"+serverIPv4+":8080/")
	_, records := tallyUntil(t, counter, 8080, 1)
	for _, r := range records {
		if r.Server.Owner.Service != "shop-front" || r.Server.Owner.Process != "nginx" {
			t.Errorf("got %+v", r.Server.Owner)
		}
	}
}

// The names of processes are not changed here. The code that writes them makes them harmless.
func TestHostileProcess(t *testing.T) {
	client, server := newWire(t)
	url, port := webServer(t, server)
	counter := openFor(t, Options{Mode: EBPF})
	dir := t.TempDir()
	needProgram(t, "curl")
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	const comm, service = "c\n|#,\x01\xff\x1b[2J", "s\nx:1|c|#a:b,\x01\xff\x1b[2J"
	evil := filepath.Join(dir, comm)
	if err := os.Symlink(curl, evil); err != nil {
		t.Fatal(err)
	}
	client.runs([]string{"DD_SERVICE=" + service}, evil, "-s", url)
	client.runs([]string{"X=y"}, evil, "-s", url)
	_, records := tallyUntil(t, counter, port, 2)
	if got := byService(records); got[service] != 1 || got[comm] != 1 {
		t.Errorf("got %v", got)
	}
	for _, r := range records {
		text, err := r.MarshalJSON()
		if err != nil || !utf8.Valid(text) || strings.ContainsAny(string(text), "\n\x01\x1b") || r.Client.Owner.Process != comm {
			t.Errorf("got %s, %v", text, err)
		}
	}
}

// BenchmarkNewProcess reports how long socket_opened runs, by the kernel's statistics: for the first connection of a process,
// with several sizes of its environment, and for a later connection.
func BenchmarkNewProcess(b *testing.B) {
	needPrivilege(b)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	client, server := newWire(b)
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	go exchange(l, 0)
	for _, size := range []int{500, 10_000, 60_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			counter := openFor(b, Options{Mode: EBPF, NoUDP: true})
			opened := counter.tracer.Programs[bpf.FlowsProgSocketOpened]
			took := func(connections int) float64 {
				script := fmt.Sprintf("for i in $(seq %d); do exec 3<>/dev/tcp/%s/%d; exec 3>&-; done", connections, serverIPv4, port(l))
				before, err := opened.Stats()
				if err != nil {
					b.Fatal(err)
				}
				client.runs([]string{"PATH=" + os.Getenv("PATH"), "A=" + strings.Repeat("x", size)}, "bash", "-c", script)
				after, err := opened.Stats()
				if err != nil {
					b.Fatal(err)
				}
				return float64(after.Runtime - before.Runtime)
			}
			var first, later []float64
			for b.Loop() {
				for range 20 {
					one, many := took(1), took(101)
					first, later = append(first, one), append(later, (many-one)/100)
				}
			}
			reportInterval(b, first, "first-ns")
			reportInterval(b, later, "later-ns")
		})
	}
}
