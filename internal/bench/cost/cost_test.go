package main

import (
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-case", "write,dns", "-way", "on,empty", "-rounds", "3", "-budget", "1m", "-before", "/a", "-width", "0.2", "-spin", "1"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.cases, []string{"write", "dns"}) || !slices.Equal(o.only, []string{"on", "empty"}) ||
		o.rounds != 3 || o.budget != time.Minute || o.before != "/a" || o.width != 0.2 || o.spin != 1 {
		t.Errorf("got %+v", o)
	}
	for _, tc := range []struct{ args, want string }{
		{"-case nonsense", `case "nonsense": must be one of bulk, `},
		{"-way nonsense", `way "nonsense": `},
		{"-way spin", `way "spin": needs -spin`},
		{"-way before", `way "before": needs -before`},
		{"-rounds -1", "must not be negative"},
		{"-budget 0s", "must not be negative"},
		{"-spin 51", "must be at most 50"},
		{"more", `argument "more"`},
	} {
		if _, err := parse(strings.Fields(tc.args)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.args, err, tc.want)
		}
	}
}

func TestFilterKeepsWhatIsComparedWith(t *testing.T) {
	var ways []way
	for _, name := range wayNames {
		ways = append(ways, way{name: name})
	}
	for _, tc := range []struct {
		only, spin, before string
		want               string
	}{
		{only: "", want: strings.Join(wayNames, " ")},
		{only: "on", want: "off on"},
		{only: "no-udp", spin: "1", before: "/a", want: "off no-udp"},
		{only: "spin", spin: "1", want: "off still spin"},
		{only: "before", before: "/a", want: "off on before"},
	} {
		o := &options{only: list(tc.only), before: tc.before}
		if tc.spin != "" {
			o.spin = 1
		}
		var got []string
		for _, w := range o.filter(ways) {
			got = append(got, w.name)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("-way %s -spin %s -before %s: got %v, want %s", tc.only, tc.spin, tc.before, got, tc.want)
		}
	}
}

// A spinning program is held against one that stands still: what the kernel's way to it costs is not its own.
func TestComparisons(t *testing.T) {
	got := comparisons([]way{{name: off}, {name: on}, {name: empty}, {name: still}, {name: spin}, {name: before}})
	want := []comparison{{on, off}, {empty, off}, {still, off}, {before, off}, {on, empty}, {spin, still}, {on, before}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What two ways took in one block is a pair, however much the machine's speed changes between blocks.
func TestCompareIsByBlock(t *testing.T) {
	b := &bench{results: map[string]map[string][]float64{}}
	for i := range 40 {
		speed := 1000 * float64(1+i%7)
		b.add(off, map[string]float64{cpuTime: speed})
		b.add(on, map[string]float64{cpuTime: 1.02 * speed})
	}
	i := b.compare(cpuTime, comparison{on, off}, 1)
	if i.Pairs != 40 || math.Abs(i.Mid-0.02) > 1e-9 || i.Width() > 1e-9 {
		t.Errorf("got %s of %d pairs, want 2 %%", i.Percent(), i.Pairs)
	}
	if v := b.compare(cpuTime, comparison{spin, off}, 1).Verdict(0.005); !strings.HasPrefix(v, "cannot tell") {
		t.Errorf("of a way that was not measured: %q", v)
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine("cpu  251311 188362 123264 607340 2237 10 7513 625 7 8")
	if err != nil {
		t.Fatal(err)
	}
	if want := (machineTime{busy: 5704.60, stolen: 6.25}); math.Abs(got.busy-want.busy) > 1e-6 || got.stolen != want.stolen {
		t.Errorf("got %+v, want %+v: user, nice, system, irq and softirq, and not idle and iowait", got, want)
	}
	for _, line := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := parseMachine(line); err == nil {
			t.Errorf("%q is no line of all processors, and was read", line)
		}
	}
}

func TestRequestsOf(t *testing.T) {
	const well = "Running 1s test @ http://10.99.0.2:8080/\n  1 threads and 8 connections\n  16402 requests in 1.00s, 2.50MB read\nRequests/sec:  16390.28\n"
	if n, err := requestsOf(well); err != nil || n != 16402 {
		t.Errorf("got %d, %v", n, err)
	}
	for _, said := range []string{
		"", strings.Replace(well, "16402", "0", 1), well + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", well + "  Non-2xx or 3xx responses: 7\n",
	} {
		if n, err := requestsOf(said); err == nil {
			t.Errorf("got %d of %q, want an error", n, said)
		}
	}
}

// The loop that waits knows how long it ran itself, or its time would be taken for work of the load.
func TestSettleKnowsItsOwnTime(t *testing.T) {
	begin := time.Now()
	idle := settle()
	if whole := time.Since(begin); idle > whole || idle <= 0 || whole < settleTime {
		t.Errorf("%v of %v", idle, whole)
	}
}

// TestClock has the clock count work of a known length, and leave nothing.
func TestClock(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("SOCKTALLY_TEST_PRIVILEGED") == "1" {
			t.Fatal("SOCKTALLY_TEST_PRIVILEGED=1, but the test does not run as root")
		}
		t.Skip("needs root: makes a cgroup")
	}
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.close()
		if _, err := os.Stat(c.cgroup); err == nil {
			t.Errorf("%s is left", c.cgroup)
		}
	}()
	if err := c.findThreads(); err != nil {
		t.Fatal(err)
	}
	// So much time of this thread, whatever it is interrupted by.
	const work = 30 * time.Millisecond
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took, err := c.measure(func() error {
		for begin := threadTime(t); threadTime(t)-begin < work; {
			continue
		}
		return nil
	})
	// The kernel tells the cgroup's time in microseconds.
	if err != nil || took < float64(work-10*time.Microsecond) {
		t.Errorf("%v of work took %v, %v", work, time.Duration(took), err)
	}
	n := 0
	for _, f := range c.threads {
		if f != nil {
			n++
		}
	}
	if n == 0 {
		t.Error("no thread of the kernel was found")
	}
	if said, err := c.others(1); err != nil || !strings.Contains(said, "other processes") {
		t.Errorf("%q, %v", said, err)
	}
}

func threadTime(t *testing.T) time.Duration {
	var spec unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &spec); err != nil {
		t.Fatal(err)
	}
	return time.Duration(spec.Nano())
}
