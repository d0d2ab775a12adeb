// Package paired says how much one way costs more than another, from rounds that were measured beside each
// other: the median of the differences of pairs, with an interval that says how sure that is.
package paired

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// resamples is how often a bootstrap draws. Its own error is then a few percent of the interval's width.
const resamples = 2000

// fewest is how many pairs an interval needs: of five, the median is outside of all of them in 6 % of cases.
const fewest = 6

// Turns measures every way so many times: each round is every way once, in random order, so that what else the
// machine does falls on all of them. What a way returns is its result of the round; the i-th results of all ways are
// of one round.
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

// Ratio is how many times as large as the reference the value is.
func Ratio(value, reference []float64, seed uint64) Interval {
	i := Bootstrap(Relative(value, reference), seed)
	i.Mid, i.Low, i.High = i.Mid+1, i.Low+1, i.High+1
	return i
}

// Interval is an estimate, and between which values the truth is with a confidence of 95 %.
type Interval struct {
	Mid, Low, High float64
	// Pairs is how many pairs it is made of.
	Pairs int
}

// Width is how far its ends are from each other.
func (i Interval) Width() float64 { return i.High - i.Low }

// Tells says whether the interval is as narrow as asked, and made of enough pairs.
func (i Interval) Tells(width float64) bool { return i.Pairs >= fewest && i.Width() <= width }

// Percent writes the interval of a relative difference, 0.01 being 1 %.
func (i Interval) Percent() string {
	return fmt.Sprintf("%+6.2f %% [%+6.2f, %+6.2f]", 100*i.Mid, 100*i.Low, 100*i.High)
}

// Verdict says what the interval of a relative difference tells, where it is to be no wider than width.
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

// Median is the middle of the values, or the mean of the two in the middle. It is 0 of none.
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

// Quantile is the value that a share of the sorted ones does not exceed. It is the zero value of none.
func Quantile[T cmp.Ordered](sorted []T, share float64) (q T) {
	if len(sorted) == 0 {
		return q
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// Relative returns, for each pair, by which part of reference[i] value[i] is larger. Where one list is longer, its
// end has no partner and is left out, and so is a pair whose reference is not above 0.
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

// drawnMedian is the median of as many values as there are, of which the i-th was drawn drawn[i] times.
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
