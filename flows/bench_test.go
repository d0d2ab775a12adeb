package flows

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"socktally/bpf"
	"socktally/flows/process"
	"socktally/flows/trace"
	"socktally/record"
)

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

// BenchmarkPacketPrograms is the cost for TCP of the programs that run for each packet. It measures the same transfer
// with a Counter without UDP and with one that counts UDP, one after the other in each round.
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
