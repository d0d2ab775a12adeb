// Command cost measures how much processor time a host needs to count flows. It measures the time of one operation of a
// load without socktally, with socktally, with empty programs (the kernel's own part), and with other programs that
// count flows. Each of these is a way. Short rounds of all ways take turns in random order, so that the compared results
// were measured within seconds. It prints the median of the differences with its interval of 95 %. If the interval is
// wider than asked, it prints that it cannot tell. make bench-cost runs it. It needs root, and a machine without other
// work.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	binary, before string
	cases, only    []string
	rounds         int
	round, budget  time.Duration
	width, spin    float64 // in percent
	seed           uint64
}

func main() {
	if kind := os.Getenv(childEnv); kind != "" {
		if err := children[kind](os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench: child that is to %s: %v\n", kind, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	var cases, only string
	flags := flag.NewFlagSet("bench-cost", flag.ContinueOnError)
	flags.StringVar(&o.binary, "socktally", "bin/socktally", "the binary to measure")
	flags.StringVar(&o.before, "before", "", "another build of it to hold against this one")
	flags.StringVar(&cases, "case", "", "a comma list of the cases to measure, all by default")
	flags.StringVar(&only, "way", "", "a comma list of the ways beside off to measure, all that are there by default")
	flags.IntVar(&o.rounds, "rounds", 0, "how many rounds of each way, as many as the budget has time for by default")
	flags.DurationVar(&o.round, "round", 30*time.Millisecond, "how long a round is")
	flags.DurationVar(&o.budget, "budget", 10*time.Minute, "how long all takes")
	flags.Float64Var(&o.width, "width", 0.5, "how wide an interval may be that tells something, in percent")
	flags.Float64Var(&o.spin, "spin", 0, "add a way that costs so many percent by a program that spins")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the order")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("argument %q: there are only flags", flags.Arg(0))
	}
	switch {
	case o.rounds < 0, o.round <= 0, o.budget <= 0, o.width <= 0, o.spin < 0:
		return nil, errors.New("rounds, round, budget, width and spin: must not be negative, and only rounds and spin may be 0")
	case o.spin > 50:
		return nil, fmt.Errorf("spin %v: must be at most 50 percent", o.spin)
	}
	o.cases, o.only = list(cases), list(only)
	known := caseNames()
	for _, name := range o.cases {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("case %q: must be one of %s", name, strings.Join(known, ", "))
		}
	}
	for _, name := range o.only {
		switch {
		case !slices.Contains(wayNames, name):
			return nil, fmt.Errorf("way %q: must be one of %s", name, strings.Join(wayNames, ", "))
		case (name == spin || name == still) && o.spin == 0:
			return nil, fmt.Errorf("way %q: needs -spin", name)
		case name == before && o.before == "":
			return nil, fmt.Errorf("way %q: needs -before", name)
		}
	}
	return o, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func caseNames() (names []string) {
	for _, g := range groups {
		for _, c := range g.cases {
			names = append(names, c.name)
		}
	}
	return names
}

// chosen returns the groups with those cases that were asked for and can run here.
func (o *options) chosen() (chosen []group) {
	for _, g := range groups {
		var cases []benchCase
		for _, c := range g.cases {
			if len(o.cases) > 0 && !slices.Contains(o.cases, c.name) {
				continue
			}
			if program := c.missing(); program != "" {
				fmt.Printf("%s is left out: %s is not installed\n", c.name, program)
				continue
			}
			cases = append(cases, c)
		}
		if g.cases = cases; len(cases) > 0 {
			chosen = append(chosen, g)
		}
	}
	return chosen
}

func (o *options) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("must be root: it makes network namespaces and loads programs into the kernel")
	}
	// A garbage collection, or a thread that waits for the Go scheduler, would disturb one way and not another.
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	clock, err := newClock()
	if err != nil {
		return fmt.Errorf("prepare to measure processor time: %w", err)
	}
	defer clock.close()
	chosen := o.chosen()
	var shares float64
	for _, g := range chosen {
		shares += g.share
	}
	fmt.Println(machine())
	fmt.Printf("seed %d, rounds of %v, a budget of %v, CPU time of one operation; asked for intervals of %v %%\n", o.seed, o.round, o.budget, o.width)
	for _, g := range chosen {
		if ctx.Err() != nil {
			break
		}
		if err := o.measureGroup(ctx, g, clock, time.Duration(float64(o.budget)*g.share/shares)); err != nil {
			return err
		}
	}
	others, err := clock.others(runtime.NumCPU())
	if err == nil {
		fmt.Println("\n" + others)
	}
	return err
}

func (o *options) measureGroup(ctx context.Context, g group, clock *clock, budget time.Duration) error {
	begin := time.Now()
	l, err := newLab(runtime.NumCPU() - 1)
	if err != nil {
		return err
	}
	defer l.close()
	ways := o.ways(l)
	if g.walking {
		ways = o.walkingWays(l)
	}
	if ways = o.filter(ways); len(ways) < 2 {
		return nil
	}
	release, err := l.hold(g.sockets)
	if err != nil {
		return fmt.Errorf("open %d sockets: %w", g.sockets, err)
	}
	defer release()
	var benches []*bench
	for _, c := range g.cases {
		b, err := newBench(c, l, clock, cmp.Or(c.round, o.round))
		if err != nil {
			return err
		}
		defer b.close()
		benches = append(benches, b)
	}
	if err := o.takeTurns(ctx, g, ways, benches, clock, begin.Add(budget)); err != nil {
		return err
	}
	for _, b := range benches {
		b.print(ways, o.width/100, o.seed)
	}
	return nil
}

// takeTurns measures blocks until the time or the rounds are over. In a block every way has one turn. Only the results of
// a whole block are kept.
func (o *options) takeTurns(ctx context.Context, g group, ways []way, benches []*bench, clock *clock, end time.Time) error {
	random := rand.New(rand.NewPCG(o.seed, 0))
	var longest time.Duration
	for block := 0; o.rounds == 0 || block < o.rounds; block++ {
		begin := time.Now()
		// The first block is always measured, however long it takes.
		if ctx.Err() != nil || block > 0 && begin.Add(longest).After(end) {
			return nil
		}
		runtime.GC()
		measured := make([]map[*bench]map[string]float64, len(ways))
		for _, i := range random.Perm(len(ways)) {
			var err error
			if measured[i], err = visit(ways[i], benches, clock, g.walking, random); err != nil {
				return err
			}
		}
		for i, w := range ways {
			for b, m := range measured[i] {
				b.add(w.name, m)
			}
		}
		longest = max(longest, time.Since(begin))
	}
	return nil
}

// filter keeps the way off, the ways that were asked for, and the ways that these are compared with.
func (o *options) filter(ways []way) (kept []way) {
	wanted := func(name string) bool { return len(o.only) == 0 || slices.Contains(o.only, name) }
	for _, w := range ways {
		switch {
		case wanted(w.name), w.name == off,
			w.name == still && wanted(spin),
			w.name == on && o.before != "" && wanted(before):
			kept = append(kept, w)
		}
	}
	return kept
}

// machine describes the machine of the measurement.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	model := "unknown processor"
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	commit, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
	return fmt.Sprintf("%s, %d CPUs, Linux %s, %s, socktally %s", model, runtime.NumCPU(), strings.TrimSpace(string(release)),
		time.Now().UTC().Format(time.DateTime), strings.TrimSpace(string(commit)))
}
