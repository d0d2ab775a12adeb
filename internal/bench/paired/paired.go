// Package paired says how much more one way costs than another one. It uses pairs of results that were measured at
// nearly the same time. The answer is the median of the pairs' differences, with a confidence interval.
package paired

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// resamples is how many samples a bootstrap draws. With this number its own error is a few percent of the interval's
// width.
const resamples = 2000

// fewest is how many pairs an interval needs. With five pairs, the true median is below or above all of them in 6 % of
// cases, so an interval of 95 % is not possible.
const fewest = 6

// Turns measures every way in each round, once and in random order. So other work of the machine disturbs all ways
// alike. A way returns its result of the round. The i-th results of all ways are of the same round.
func Turns(rounds int, seed uint64, ways ...func() (float64, error)) (results [][]float64, err error) {
	random := rand.New(rand.NewPCG(seed, 0))
	results = make([][]float64, len(ways))
	for i := range results {
		results[i] = make([]float64, rounds)
	}
	for round := range rounds {
		for _, i := range random.Perm(len(ways)) {
			if results[i][round], err = ways[i](); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// Timed is a way whose result is how long it takes, in nanoseconds.
func Timed(run func() error) func() (float64, error) {
	return func() (float64, error) {
		begin := time.Now()
		err := run()
		return float64(time.Since(begin)), err
	}
}

// Ratio returns value divided by reference, as an interval.
func Ratio(value, reference []float64, seed uint64) Interval {
	i := Bootstrap(Relative(value, reference), seed)
	i.Mid, i.Low, i.High = i.Mid+1, i.Low+1, i.High+1
	return i
}

// Interval is an estimate with its confidence interval of 95 %.
type Interval struct {
	Mid, Low, High float64
	// Pairs is the number of pairs behind the estimate.
	Pairs int
}

// Width is the distance of the two ends.
func (i Interval) Width() float64 { return i.High - i.Low }

// Tells says whether the interval is not wider than width and has enough pairs.
func (i Interval) Tells(width float64) bool { return i.Pairs >= fewest && i.Width() <= width }

// Percent writes the interval of a relative difference, 0.01 being 1 %.
func (i Interval) Percent() string {
	return fmt.Sprintf("%+6.2f %% [%+6.2f, %+6.2f]", 100*i.Mid, 100*i.Low, 100*i.High)
}

// Verdict describes the interval of a relative difference in words. If the interval is wider than width, it says so.
func (i Interval) Verdict(width float64) string {
	switch {
	case i.Pairs < fewest:
		return fmt.Sprintf("cannot tell: %d pairs, %d are the fewest", i.Pairs, fewest)
	case !i.Tells(width):
		return fmt.Sprintf("cannot tell: %.2f wide, asked %.2f", 100*i.Width(), 100*width)
	case i.Low > 0:
		return "more"
	case i.High < 0:
		return "less"
	}
	return "no difference found"
}

// Median returns the middle value, or the mean of the two in the middle. Without values it returns 0.
func Median(of []float64) float64 {
	return middle(slices.Sorted(slices.Values(of)))
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Quantile returns the value that the given share of the sorted values does not exceed. Without values it returns the
// zero value.
func Quantile[T cmp.Ordered](sorted []T, share float64) (q T) {
	if len(sorted) == 0 {
		return q
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// Relative returns (value[i]-reference[i])/reference[i] for each pair. If one list is longer, the rest of it is left out.
// A pair whose reference is not above 0 is left out too.
func Relative(value, reference []float64) (differences []float64) {
	for i := range min(len(value), len(reference)) {
		if reference[i] > 0 {
			differences = append(differences, value[i]/reference[i]-1)
		}
	}
	return differences
}

// Bootstrap returns the median of the values, with the interval that holds 95 % of the medians of as many values
// drawn from them with replacement. The values must be independent of each other.
func Bootstrap(values []float64, seed uint64) Interval {
	if len(values) == 0 {
		return Interval{}
	}
	random := rand.New(rand.NewPCG(seed, uint64(len(values))))
	sorted := slices.Sorted(slices.Values(values))
	medians := make([]float64, resamples)
	drawn := make([]int, len(sorted))
	for i := range medians {
		clear(drawn)
		for range sorted {
			drawn[random.IntN(len(sorted))]++
		}
		medians[i] = drawnMedian(sorted, drawn)
	}
	slices.Sort(medians)
	return Interval{
		Mid: middle(sorted), Low: Quantile(medians, 0.025), High: Quantile(medians, 0.975), Pairs: len(values),
	}
}

// drawnMedian returns the median of a sample of len(sorted) values, in which the i-th value comes drawn[i] times.
func drawnMedian(sorted []float64, drawn []int) float64 {
	n, seen := len(sorted), 0
	for i, times := range drawn {
		seen += times
		switch {
		case 2*seen > n:
			return sorted[i]
		case 2*seen == n:
			for j := i + 1; ; j++ {
				if drawn[j] > 0 {
					return (sorted[i] + sorted[j]) / 2
				}
			}
		}
	}
	return 0 // not reached: n were drawn
}
