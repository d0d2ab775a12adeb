package flows

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"socktally/flows/process"
	"socktally/flows/trace"
	"socktally/internal/bench/paired"
	"socktally/record"
)

const rounds = 11

// reportInterval reports the median of independent values, and between which values it is with 95 %.
func reportInterval(b *testing.B, values []float64, unit string) {
	i := paired.Bootstrap(values, 1)
	b.ReportMetric(i.Mid, unit)
	b.ReportMetric(i.Low, "low-"+unit)
	b.ReportMetric(i.High, "high-"+unit)
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
		results, err := paired.Turns(rounds, 1,
			func() (float64, error) { return measure(openFor(b, Options{Mode: EBPF})), nil },
			func() (float64, error) {
				return measure(openIn(b, newNamespace(b), Options{Mode: EBPF, Scope: NetNS})), nil
			},
		)
		if err != nil {
			b.Fatal(err)
		}
		took, idle = append(took, results[0]...), append(idle, results[1]...)
	}
	for i := range took {
		net = append(net, took[i]-idle[i])
	}
	b.ReportMetric(paired.Median(took), "bpf-ns/conn")
	b.ReportMetric(paired.Median(idle), "clock-ns/conn")
	reportInterval(b, net, "net-ns/conn")
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
