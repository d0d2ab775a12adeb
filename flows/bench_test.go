package flows

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/flows/process"
	"socktally/flows/trace"
	"socktally/internal/host"
	"socktally/record"
)

const rounds = 11

// way is a way to count what passes an interface. start begins to count in ns.
type way struct {
	name  string
	start func(b *testing.B, ns *namespace, device string) (stop func())
}

// ways are measured in turns, so that what else the machine does falls on all. The peers are those
// that are installed.
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

// run starts a program in ns. Nothing is left of it after stop.
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

// BenchmarkThroughput compares the same transfer without and with the tracer, and with others that
// count flows.
func BenchmarkThroughput(b *testing.B) {
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"bulk", []string{"-l", "128K"}},
		{"writes of 128 bytes", []string{"-l", "128", "-P", "2", "-N"}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			client, server := newWire(b)
			compare(b, client, "c", "Mbit/s", func() float64 { return iperf(client, server, tc.args) / 1e6 })
		})
	}
	b.Run("connections", func(b *testing.B) {
		ns := churnNamespace(b)
		compare(b, ns, "lo", "conn/s", func() float64 { return float64(connectFor(b, ns, time.Second)) })
	})
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

// BenchmarkPacketPrograms is what the programs that look at each packet cost TCP: the same transfer
// with a Counter that leaves UDP out and with one that does not, in turns.
func BenchmarkPacketPrograms(b *testing.B) {
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"writes of 128 bytes", []string{"-l", "128", "-P", "2", "-N"}},
		{"bulk", []string{"-l", "128K"}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			client, server := newWire(b)
			measure := func(o Options) float64 {
				counter := openFor(b, o)
				defer counter.Close()
				return iperf(client, server, tc.args) / 1e6
			}
			without, with := Options{Mode: EBPF, NoUDP: true}, Options{Mode: EBPF}
			measure(with) // warm up
			for b.Loop() {
				var off, on []float64
				for i := range 2 * rounds {
					if i%2 == 0 {
						off = append(off, measure(without))
						on = append(on, measure(with))
					} else {
						on = append(on, measure(with))
						off = append(off, measure(without))
					}
				}
				b.ReportMetric(median(off), "without-Mbit/s")
				b.ReportMetric(median(on), "with-Mbit/s")
				b.ReportMetric(median(on)/median(off), "ratio")
			}
		})
	}
}

// BenchmarkSmallWrite is the processor time of one TCP write of 128 bytes over veth, sent, passed on
// and read by one thread: without the programs that look at each packet, with programs in their place
// that do nothing, which is the kernel's own part, and with them. Processor time is steadier than a
// rate where other work shares the machine.
func BenchmarkSmallWrite(b *testing.B) {
	client, server := newWire(b)
	l := server.listen("tcp4", addrPort(serverIPv4, 0))
	c := client.dial("tcp4", l.Addr().String())
	s, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	measure := func(o Options) float64 {
		counter := openFor(b, o)
		defer counter.Close()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const n = 20_000
		var buffer [128]byte
		begin := threadTime(b)
		for range n {
			if _, err := c.Write(buffer[:]); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, buffer[:]); err != nil {
				b.Fatal(err)
			}
		}
		return float64(threadTime(b)-begin) / n
	}
	for b.Loop() {
		var off, empty, on []float64
		for range 5 * rounds {
			off = append(off, measure(Options{Mode: EBPF, NoUDP: true}))
			detach := attachNothing(b)
			empty = append(empty, measure(Options{Mode: EBPF, NoUDP: true}))
			detach()
			on = append(on, measure(Options{Mode: EBPF}))
		}
		b.ReportMetric(median(off), "without-ns/write")
		b.ReportMetric(median(empty), "empty-ns/write")
		b.ReportMetric(median(on), "with-ns/write")
		b.ReportMetric(median(off)/median(on), "ratio")
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

// BenchmarkPacket takes from the kernel's own statistics how long the programs run for a TCP packet
// and for a UDP datagram, at each end. What the statistics show for a program that ends at once is
// mainly the reading of the clock.
func BenchmarkPacket(b *testing.B) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	client, server := newWire(b)
	counter := openFor(b, Options{Mode: EBPF})
	needUDP(b, counter)
	programs := []*ebpf.Program{counter.udp.Programs[bpf.UdpProgPacketSent], counter.udp.Programs[bpf.UdpProgPacketReceived]}
	measure := func(args ...string) float64 {
		before := statsOf(b, programs)
		iperf(client, server, args)
		after := statsOf(b, programs)
		return float64(after.Runtime-before.Runtime) / float64(after.RunCount-before.RunCount)
	}
	for b.Loop() {
		b.ReportMetric(measure("-l", "128", "-N"), "tcp-ns/packet")
		b.ReportMetric(measure("-u", "-b", "0", "-l", "128"), "udp-ns/datagram")
	}
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

// BenchmarkConnection takes from the kernel's own statistics how long the programs run for one
// connection that is opened and closed, both its ends on this host. Most of their runs end at once,
// and for those the statistics show little but the reading of the clock: a second Counter that looks
// at another namespace says how much that is.
func BenchmarkConnection(b *testing.B) {
	ns := churnNamespace(b)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	measure := func(counter *Counter) float64 {
		defer counter.Close()
		tracer := counter.tracer
		before := runtimeOf(b, tracer)
		n := connectFor(b, ns, time.Second)
		return float64(runtimeOf(b, tracer)-before) / float64(n)
	}
	var took, idle, net []float64
	for b.Loop() {
		for range rounds {
			looking := measure(openFor(b, Options{Mode: EBPF}))
			elsewhere := measure(openIn(b, newNamespace(b), Options{Mode: EBPF, Scope: NetNS}))
			took, idle, net = append(took, looking), append(idle, elsewhere), append(net, looking-elsewhere)
		}
	}
	b.ReportMetric(median(took), "bpf-ns/conn")
	b.ReportMetric(median(idle), "clock-ns/conn")
	b.ReportMetric(median(net), "net-ns/conn")
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

// BenchmarkMemory is the resident memory of a process that counts, beside 50,000 open sockets, and
// what it makes the kernel hold: its maps, and slab memory for each of the sockets.
func BenchmarkMemory(b *testing.B) {
	const sockets = 50_000
	ns := newNamespace(b)
	ns.hold(sockets)
	for b.Loop() {
		before := slab(b)
		counter := openFor(b, Options{Mode: EBPF})
		b.ReportMetric((slab(b)-before)/sockets, "slab-B/socket")
		maps, err := counter.tcp.(*trace.TCP).MapBytes()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(maps)/(1<<20), "maps-MiB")
		counter.Close()

		_, out := ns.child("tally", nil)
		line, err := out.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		kib, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(kib/1024, "resident-MiB")
	}
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

var sink atomic.Int64

// BenchmarkMerge is what user space does with an interval of many flows.
func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ends := manyEnds(n)
			m := newMerger("tcp", record.FromEBPF, process.NewTable("/nonexistent", n), n)
			b.ReportAllocs()
			for b.Loop() {
				sink.Add(int64(len(m.merge(ends))))
			}
		})
	}
}
