package main

import (
	"fmt"
	"slices"

	"socktally/internal/bench/paired"
)

// A comparison is a way and the reference that it is compared with.
type comparison struct{ way, reference string }

// comparisons returns the comparison of each way with off. Some ways have another reference too: the comparison of on
// with empty shows the part that is not the kernel's own.
func comparisons(ways []way) (all []comparison) {
	has := func(name string) bool { return slices.ContainsFunc(ways, func(w way) bool { return w.name == name }) }
	for _, w := range ways {
		if w.name != off && w.name != spin {
			all = append(all, comparison{w.name, off})
		}
	}
	for _, c := range []comparison{{on, empty}, {spin, still}, {on, before}} {
		if has(c.way) && has(c.reference) {
			all = append(all, c)
		}
	}
	return all
}

// compare returns by which part the measured value of a way is larger than that of its reference.
func (b *bench) compare(what string, c comparison, seed uint64) paired.Interval {
	return paired.Bootstrap(paired.Relative(b.results[what][c.way], b.results[what][c.reference]), seed)
}

func (b *bench) print(ways []way, width float64, seed uint64) {
	fmt.Printf("\n%s: %s\n", b.name, b.what)
	for _, what := range []string{cpuTime, half, slowest} {
		results, ok := b.results[what]
		if !ok {
			continue
		}
		fmt.Printf("  %s, off: %s\n", what, nanoseconds(paired.Median(results[off])))
		for _, c := range comparisons(ways) {
			interval := b.compare(what, c, seed)
			name := c.way
			if c.reference != off {
				name += " over " + c.reference
			}
			fmt.Printf("    %-16s %s  %3d pairs  %s", name, interval.Percent(), interval.Pairs, interval.Verdict(width))
			if c.way == spin && what == cpuTime {
				fmt.Printf("; %.2f %% was added", 100*b.added)
			}
			fmt.Println()
		}
	}
}

func nanoseconds(ns float64) string {
	if ns < 10_000 {
		return fmt.Sprintf("%.0f ns", ns)
	}
	return fmt.Sprintf("%.2f us", ns/1000)
}
