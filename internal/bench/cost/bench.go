package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"socktally/internal/bench/paired"
)

// A benchCase is a kind of load that can be asked for.
type benchCase struct {
	name string
	// what describes one operation.
	what string
	make func(*lab) (*load, error)
	// needs are programs without which the case is left out.
	needs []string
	// round is how long a round should take. 0 means the time that was asked for.
	round time.Duration
}

// A group is some cases that run in the same lab. A way is started once for all of them.
type group struct {
	cases []benchCase
	// share is the group's weight: it gets share/sum of the time, where sum is that of all chosen groups.
	share float64
	// sockets are open in the client's namespace beside the load.
	sockets int
	// walking is whether the ways look at the sockets in each round, on the load's CPU.
	walking bool
}

var groups = []group{
	{share: 0.7, cases: []benchCase{
		{name: "bulk", what: "64 KiB written and read, TCP over veth", make: newBulk},
		{name: "write", what: "128 bytes written and read, TCP over veth", make: newSmallWrites},
		{name: "request", what: "1 byte sent and 1 byte back, TCP over veth, two processes on one CPU", make: newPingPong},
		{name: "loopback", what: "connection with 1 byte each way, loopback", make: newLoopback},
		{name: "veth", what: "connection with 1 byte each way, between two namespaces", make: newVeth},
		{name: "udp", what: "datagram of 100 bytes sent and received over veth", make: newDatagrams},
		{name: "gso", what: "40 datagrams of 1200 bytes sent and received as one buffer over veth", make: newSegmented},
		// socktally reads DNS messages when there are enough of them. The round is long, so that this happens several
		// times in each.
		{name: "dns", what: "query of DNS and its answer, UDP over veth, 20,000 a second", make: newDNS, round: 120 * time.Millisecond},
	}},
	{share: 0.15, sockets: 100_000, walking: true, cases: []benchCase{
		{name: "walk", what: "as request, beside 100,000 sockets that are looked at once a second on the same CPU", make: newPingPong, round: time.Second},
	}},
	{share: 0.15, cases: []benchCase{
		{name: "http", what: "request of wrk to nginx over veth, a connection each", make: newHTTP, needs: []string{"nginx", "wrk"}},
	}},
}

func (c benchCase) missing() string {
	for _, program := range c.needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

// bench is a running case.
type bench struct {
	benchCase
	lab   *lab
	clock *clock
	load  *load
	// ops is the number of operations in a round.
	ops int
	// results are by the name of the measured value, then by way. There is one result for each block.
	results map[string]map[string][]float64
	// programs are the programs for this case, by way. That of the way spin makes an operation longer by a known part.
	programs map[string]*ebpf.Program
	added    float64
}

// The names of the measured values.
const cpuTime, half, slowest = "CPU time", "latency p50", "latency p99"

func newBench(c benchCase, l *lab, clock *clock, round time.Duration) (*bench, error) {
	b := &bench{benchCase: c, lab: l, clock: clock, results: map[string]map[string][]float64{}, programs: map[string]*ebpf.Program{}}
	var err error
	if b.load, err = c.make(l); err == nil {
		if err = b.calibrate(round); err != nil {
			b.close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the load %s: %w", c.name, err)
	}
	return b, nil
}

func (b *bench) close() {
	b.load.close()
	for _, p := range b.programs {
		p.Close()
	}
}

// calibrate finds how many operations fill a round.
func (b *bench) calibrate(round time.Duration) error {
	b.ops = 20
	if b.load.did == nil {
		for took := time.Duration(0); took < round; b.ops *= 2 {
			begin := time.Now()
			if _, err := b.runOnce(b.ops); err != nil {
				return err
			}
			if took = time.Since(begin); took >= round/2 {
				b.ops = max(1, int(float64(b.ops)*float64(round)/float64(took)))
				break
			}
		}
	}
	return nil
}

// runOnce does n operations on the worker's thread, and returns how many it did.
func (b *bench) runOnce(n int) (done float64, err error) {
	err = b.lab.worker.do(func() error { return b.load.run(n) })
	if b.load.did != nil {
		n = b.load.did()
	}
	return float64(n), err
}

// round warms up, measures, and returns for one operation what was measured, in nanoseconds.
func (b *bench) round() (map[string]float64, error) {
	measured := map[string]float64{}
	err := b.lab.worker.do(func() error {
		if b.load.did == nil {
			if err := b.load.run(max(1, b.ops/5)); err != nil {
				return err
			}
		}
		settle()
		took, err := b.clock.measure(func() error { return b.load.run(b.ops) })
		if err != nil {
			return err
		}
		done := b.ops
		if b.load.did != nil {
			done = b.load.did()
		}
		measured[cpuTime] = took / float64(done)
		return nil
	})
	if err == nil && b.load.latencies != nil {
		sorted := slices.Sorted(slices.Values(b.load.latencies()))
		measured[half], measured[slowest] = paired.Quantile(sorted, 0.5), paired.Quantile(sorted, 0.99)
	}
	return measured, err
}

// visit starts a way, measures a round of each case in random order, and ends the way.
func visit(w way, benches []*bench, clock *clock, walking bool, random *rand.Rand) (map[*bench]map[string]float64, error) {
	stop, err := w.start()
	if err != nil {
		return nil, err
	}
	measured, err := measureAll(w, benches, clock, walking, random)
	if e := stop(); err == nil {
		err = e
	}
	time.Sleep(50 * time.Millisecond) // the kernel frees what the way held
	return measured, err
}

func measureAll(w way, benches []*bench, clock *clock, walking bool, random *rand.Rand) (map[*bench]map[string]float64, error) {
	if err := clock.findThreads(); err != nil {
		return nil, err
	}
	measured := map[*bench]map[string]float64{}
	for _, i := range random.Perm(len(benches)) {
		b := benches[i]
		if w.prepare != nil {
			if err := w.prepare(b); err != nil {
				return nil, err
			}
		}
		if walking {
			waitForHalf()
		}
		m, err := b.round()
		if err != nil {
			return nil, fmt.Errorf("%s with %s: %w", b.name, w.name, err)
		}
		measured[b] = m
	}
	return measured, nil
}

// waitForHalf waits until shortly before the middle of a second. A schedule of once a second runs when a second begins.
// So a round of one second has it exactly once, in its middle.
func waitForHalf() {
	const wanted = 200 * time.Millisecond // the warming up takes the rest
	now := time.Duration(time.Now().Nanosecond())
	time.Sleep((wanted - now + time.Second) % time.Second)
}

// add keeps the results of a way in a block.
func (b *bench) add(way string, measured map[string]float64) {
	for what, value := range measured {
		if b.results[what] == nil {
			b.results[what] = map[string][]float64{}
		}
		b.results[what][way] = append(b.results[what][way], value)
	}
}
