package flows

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/flows/trace"
	"socktally/internal/host"
)

const rounds = 11

// way is a way to count the packets of an interface. start begins to count in ns.
type way struct {
	name  string
	start func(b *testing.B, ns *namespace, device string) (stop func())
}

// ways are measured one after the other in each round, so that other load on the machine affects all of them. Of the
// other programs, only those that are installed are measured.
func ways(b *testing.B) []way {
	all := []way{
		{"off", func(*testing.B, *namespace, string) func() { return func() {} }},
		{"on", func(b *testing.B, _ *namespace, _ string) func() {
			counter := openFor(b, Options{Mode: EBPF})
			stop := tallyEvery(b, counter, 500*time.Millisecond)
			return func() {
				stop()
				counter.Close()
			}
		}},
	}
	for _, peer := range []struct {
		name string
		args func(device string) []string
	}{
		{"pmacctd", func(device string) []string {
			return []string{"-i", device, "-P", "memory", "-p", filepath.Join(b.TempDir(), "pipe"), "-c", "src_host,dst_host,src_port,dst_port,proto"}
		}},
		{"softflowd", func(device string) []string {
			dir := b.TempDir()
			return []string{"-d", "-i", device, "-n", "127.0.0.1:9", "-p", filepath.Join(dir, "pid"), "-c", filepath.Join(dir, "ctl")}
		}},
	} {
		if path, err := exec.LookPath(peer.name); err != nil {
			b.Logf("without %s: %v", peer.name, err)
		} else {
			all = append(all, way{peer.name, func(b *testing.B, ns *namespace, device string) func() {
				return ns.run(path, peer.args(device)...)
			}})
		}
	}
	return all
}

// run starts a program in ns. stop ends it with all its children.
func (ns *namespace) run(path string, args ...string) (stop func()) {
	ns.t.Helper()
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ns.do(cmd.Start)
	time.Sleep(300 * time.Millisecond) // it has to open the interface
	return func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
}

// compare reports the median of each way and its ratio to the first, off.
func compare(b *testing.B, ns *namespace, device, unit string, measure func() float64) {
	measure() // warm up
	for b.Loop() {
		all := ways(b)
		results := make([][]float64, len(all))
		for range rounds {
			for i, w := range all {
				stop := w.start(b, ns, device)
				results[i] = append(results[i], measure())
				stop()
			}
		}
		off := median(results[0])
		b.ReportMetric(off, "off-"+unit)
		for i, w := range all[1:] {
			b.ReportMetric(median(results[i+1])/off, w.name+"-ratio")
		}
	}
}

// attachNothing attaches a program that does nothing where those for UDP go.
func attachNothing(b *testing.B) (detach func()) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSKB, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	closers := []io.Closer{program}
	for _, where := range []ebpf.AttachType{ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: host.Reader{}.Cgroup2(), Attach: where, Program: program})
		if err != nil {
			b.Fatal(err)
		}
		closers = append(closers, l)
	}
	return func() {
		for _, c := range closers {
			c.Close()
		}
	}
}

func threadTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

func statsOf(b *testing.B, programs []*ebpf.Program) (sum ebpf.ProgramStats) {
	for _, p := range programs {
		s, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		sum.Runtime += s.Runtime
		sum.RunCount += s.RunCount
	}
	return sum
}

func tallyEvery(b *testing.B, c *Counter, interval time.Duration) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticks.C:
				if _, err := c.Tally(context.Background()); err != nil {
					b.Error(err)
				}
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return s[len(s)/2]
}

func iperf(client, server *namespace, args []string) float64 {
	var cmd *exec.Cmd
	server.do(func() error {
		cmd = exec.Command("iperf3", "-s", "-1")
		return cmd.Start()
	})
	defer cmd.Wait()
	time.Sleep(100 * time.Millisecond)
	out := client.command("", "iperf3", append([]string{"-c", serverIPv4, "-t", "1", "-J"}, args...)...)
	var result struct {
		End struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		client.t.Fatal(err)
	}
	return result.End.SumReceived.BitsPerSecond
}

func churnNamespace(b *testing.B) *namespace {
	ns := newNamespace(b)
	ns.sysctl("tcp_tw_reuse", "1")
	ns.sysctl("ip_local_port_range", "1024 65535")
	return ns
}

// connectFor makes connections one after the other and returns how many.
func connectFor(b *testing.B, ns *namespace, d time.Duration) (n int) {
	l := ns.listen("tcp4", "127.0.0.1:0")
	defer l.Close()
	go answerShort(l, 7)
	ns.do(func() error {
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
			if err := oneShort(l.Addr().String()); err != nil {
				return err
			}
		}
		return nil
	})
	return n
}

func runtimeOf(b *testing.B, t *trace.Tracer) (sum time.Duration) {
	for _, name := range trace.StateChanges {
		s, err := t.Programs[name].Stats()
		if err != nil {
			b.Fatal(err)
		}
		sum += s.Runtime
	}
	return sum
}

// slab is the kernel's small objects, in bytes: the whole host's, so what else happens adds to it.
func slab(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "SUnreclaim:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib * 1024
		}
	}
	b.Fatal("no SUnreclaim in /proc/meminfo")
	return 0
}
