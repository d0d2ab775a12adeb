package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"socktally/internal/host"
)

// clock measures the processor time of a load and of the program that counts its flows. /proc/stat is not enough: its
// unit of 10 ms is a fifth of a short round, and it has the time of all other processes. So this command and all
// processes that it starts are in their own cgroup. The kernel counts the time of a cgroup exactly, with the interrupts
// during that time. The clock adds the time of kernel threads that do work for others. Some work is done by interrupts
// after a round, such as RCU callbacks. settle catches that.
type clock struct {
	cgroup  string
	threads map[string]*os.File // nil for those that do not count
	began   machineTime
}

// machineTime is the time of all processors in /proc/stat and this command's part of it, in seconds.
type machineTime struct{ busy, stolen, own, wall float64 }

func newClock() (*clock, error) {
	mount := host.Reader{}.Cgroup2()
	if mount == "" {
		return nil, fmt.Errorf("find the cgroup v2 hierarchy: it is not mounted")
	}
	c := &clock{threads: map[string]*os.File{}, cgroup: filepath.Join(mount, fmt.Sprintf("socktally-bench-%d", os.Getpid()))}
	if err := os.Mkdir(c.cgroup, 0o755); err != nil {
		return nil, err
	}
	if err := enter(c.cgroup); err != nil {
		c.close()
		return nil, err
	}
	var err error
	if c.began, err = c.machine(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func enter(cgroup string) error {
	return os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0)
}

func (c *clock) close() {
	_ = enter(filepath.Dir(c.cgroup))
	_ = os.Remove(c.cgroup)
	for _, f := range c.threads {
		f.Close()
	}
}

// workers are the names of kernel threads that do work for others. The other kernel threads manage memory and disks and
// have nothing to do with the load.
var workers = []string{"(kworker", "(ksoftirqd", "(rcu"}

// findThreads looks for threads of the kernel that are new.
func (c *clock) findThreads() error {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := c.threads[name]; ok {
			continue
		}
		text, err := os.ReadFile(name + "/stat")
		if err != nil {
			continue // it has ended
		}
		c.threads[name] = nil
		end := strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[end+1:]))
		flags, err := strconv.ParseUint(fields[6], 10, 64)
		const ofKernel = 0x00200000 // PF_KTHREAD
		if err != nil || flags&ofKernel == 0 {
			continue
		}
		comm := string(text[strings.IndexByte(string(text), '('):end])
		if slices.ContainsFunc(workers, func(w string) bool { return strings.HasPrefix(comm, w) }) {
			if c.threads[name], err = os.Open(name + "/schedstat"); err != nil {
				delete(c.threads, name)
			}
		}
	}
	return nil
}

// kernel is the time of the threads that were found, in nanoseconds.
func (c *clock) kernel() (sum float64) {
	var b [64]byte
	for _, f := range c.threads {
		if f == nil {
			continue
		}
		n, _ := f.ReadAt(b[:], 0) // nothing of one that has ended
		ran, _, _ := strings.Cut(string(b[:n]), " ")
		t, _ := strconv.ParseFloat(ran, 64)
		sum += t
	}
	return sum
}

// own is the time of the cgroup, in nanoseconds.
func (c *clock) own() (float64, error) {
	// The kernel brings the time of a running thread up to date when the time is read. This does that for the caller.
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(c.cgroup, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if us, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(us), 64)
			return 1000 * n, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat has no usage_usec", c.cgroup)
}

// measure is the processor time that f and its aftermath took, in nanoseconds.
func (c *clock) measure(f func() error) (float64, error) {
	kernel := c.kernel()
	begin, err := c.own()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	idle := settle()
	end, err := c.own()
	return end - begin - float64(idle) + c.kernel() - kernel, err
}

// settleTime is longer than the kernel takes to free what was closed: some ticks of the clock.
const settleTime = 12 * time.Millisecond

// settle keeps the CPU busy for settleTime with an empty loop. It returns how long the loop itself ran, without any
// interruption.
func settle() (idle time.Duration) {
	const turn = 400 * time.Nanosecond // at most, where nothing interrupts
	begin := time.Now()
	for last := time.Duration(0); last < settleTime; {
		now := time.Since(begin)
		if now-last < turn {
			idle += now - last
		}
		last = now
	}
	return idle
}

func (c *clock) machine() (machineTime, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	t, err := parseMachine(first)
	if err != nil {
		return machineTime{}, err
	}
	own, err := c.own()
	t.own, t.wall = own/1e9, float64(time.Now().UnixNano())/1e9
	return t, err
}

// parseMachine reads the line of /proc/stat that is about all processors.
func parseMachine(line string) (t machineTime, err error) {
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, fmt.Errorf("read /proc/stat: %q is not the line of all processors", line)
	}
	const perSecond = 100 // USER_HZ, the same on every architecture that this runs on
	for i, into := range []*float64{&t.busy, &t.busy, &t.busy, nil, nil, &t.busy, &t.busy, &t.stolen} {
		n, err := strconv.ParseFloat(fields[i+1], 64)
		if err != nil {
			return t, fmt.Errorf("read /proc/stat: %w", err)
		}
		if into != nil {
			*into += n / perSecond
		}
	}
	return t, nil
}

// others says how busy the machine was beside this command since the clock began.
func (c *clock) others(cpus int) (string, error) {
	now, err := c.machine()
	if err != nil {
		return "", err
	}
	all := float64(cpus) * (now.wall - c.began.wall)
	own := now.own - c.began.own
	return fmt.Sprintf("of all processor time this run took %.0f %%, other processes and the kernel's own work %.1f %%, the hypervisor %.1f %%",
		100*own/all, 100*max(0, now.busy-c.began.busy-own)/all, 100*(now.stolen-c.began.stolen)/all), nil
}
