package paired

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		of   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{8, 1, 3, 5}, 4},
	} {
		before := slices.Clone(tc.of)
		if got := Median(tc.of); got != tc.want {
			t.Errorf("median of %v: got %v, want %v", tc.of, got, tc.want)
		}
		if !slices.Equal(tc.of, before) {
			t.Errorf("the median sorted its argument: %v", tc.of)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for share, want := range map[float64]int{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := Quantile(hundred, share); got != want {
			t.Errorf("%v of 1 to 100: got %d, want %d", share, got, want)
		}
	}
	if got := Quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("of none: %d", got)
	}
}

// The pairs share what the machine did at their time: it goes out, and is not taken for a difference.
func TestRelativePairsByTime(t *testing.T) {
	reference := []float64{100, 200, 400, 0, 100}
	value := []float64{101, 202, 404, 5}
	for i, d := range Relative(value, reference) {
		if math.Abs(d-0.01) > 1e-12 {
			t.Errorf("pair %d: got %v, want 0.01", i, d)
		}
	}
	if n := len(Relative(value, reference)); n != 3 {
		t.Errorf("%d pairs, want 3: without the one whose reference is 0 and the one without a partner", n)
	}
}

func TestDrawnMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		n := 1 + random.IntN(9)
		sorted, drawn := make([]float64, n), make([]int, n)
		for i := range sorted {
			sorted[i] = float64(i * i)
		}
		var all []float64
		for range n {
			i := random.IntN(n)
			drawn[i]++
			all = append(all, sorted[i])
		}
		if got, want := drawnMedian(sorted, drawn), Median(all); got != want {
			t.Fatalf("%v drawn: got %v, want %v", all, got, want)
		}
	}
}

// Of many experiments whose truth is known, about 95 % of the intervals hold it. The noise has outliers, as a
// machine's has.
func TestBootstrapCoversTheTruth(t *testing.T) {
	const experiments, truth = 400, 0.01
	random := rand.New(rand.NewPCG(3, 4))
	held := 0
	for seed := range uint64(experiments) {
		values := make([]float64, 80)
		for i := range values {
			noise := random.NormFloat64() * 0.02
			if random.IntN(20) == 0 {
				noise *= 20
			}
			values[i] = truth + noise
		}
		if i := Bootstrap(values, seed); i.Low <= truth && truth <= i.High {
			held++
		}
	}
	// 380 are expected; 4 standard deviations are 17.
	if held < 363 || held > 397 {
		t.Errorf("%d of %d intervals hold the truth", held, experiments)
	}
}

func TestBootstrapNarrowsWithTheRootOfThePairs(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	width := func(n int) float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = random.NormFloat64()
		}
		return Bootstrap(values, 1).Width()
	}
	if ratio := width(100) / width(10_000); ratio < 5 || ratio > 20 {
		t.Errorf("a hundred times the pairs make the interval %.1f times as narrow, want about 10", ratio)
	}
}

func TestBootstrapIsTheSameForOneSeed(t *testing.T) {
	values := []float64{1, 5, 2, 8, 3, 9, 4, 4, 7}
	if a, b := Bootstrap(values, 7), Bootstrap(values, 7); a != b {
		t.Errorf("%v and %v", a, b)
	}
	if got := Bootstrap(nil, 7); got != (Interval{}) {
		t.Errorf("of nothing: %v", got)
	}
	if got := Bootstrap([]float64{2}, 7); got != (Interval{Mid: 2, Low: 2, High: 2, Pairs: 1}) {
		t.Errorf("of one value: %v", got)
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		i    Interval
		want string
	}{
		{Interval{Mid: 0.01, Low: 0.008, High: 0.012, Pairs: 9}, "more"},
		{Interval{Mid: -0.01, Low: -0.012, High: -0.008, Pairs: 9}, "less"},
		{Interval{Mid: 0.001, Low: -0.001, High: 0.003, Pairs: 9}, "no difference found"},
		{Interval{Mid: 0.01, Low: 0.005, High: 0.011, Pairs: 9}, "cannot tell: 0.60 wide, asked 0.50"},
		{Interval{Mid: 0.5, Low: 0.4, High: 0.6, Pairs: 9}, "cannot tell: 20.00 wide, asked 0.50"},
		{Interval{Mid: 0.01, Low: 0.01, High: 0.01, Pairs: 5}, "cannot tell: 5 pairs, 6 are the fewest"},
		{Interval{}, "cannot tell: 0 pairs, 6 are the fewest"},
	} {
		if got := tc.i.Verdict(0.005); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.i.Percent(), got, tc.want)
		}
	}
	if got := (Interval{Mid: 0.0123, Low: 0.01, High: 0.02}).Percent(); !strings.Contains(got, "+1.23 % [ +1.00,  +2.00]") {
		t.Errorf("got %q", got)
	}
}

// Every way has one result a round, and the order is not always the same.
func TestTurns(t *testing.T) {
	var order []int
	way := func(n int) func() (float64, error) {
		return func() (float64, error) {
			order = append(order, n)
			return float64(len(order) - 1), nil
		}
	}
	const rounds = 50
	results, err := Turns(rounds, 1, way(0), way(1), way(2))
	if err != nil {
		t.Fatal(err)
	}
	first := map[int]int{}
	for round := range rounds {
		first[order[3*round]]++
		for n := range results {
			if turn := int(results[n][round]); turn/3 != round || order[turn] != n {
				t.Errorf("round %d of way %d is the result of turn %d", round, n, turn)
			}
		}
	}
	if len(first) != 3 {
		t.Errorf("which came first: %v", first)
	}
	refused := errors.New("no")
	if _, err := Turns(3, 1, func() (float64, error) { return 0, refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

func TestRatio(t *testing.T) {
	i := Ratio([]float64{20, 42, 60}, []float64{10, 20, 30}, 1)
	if math.Abs(i.Mid-2) > 1e-12 || math.Abs(i.Low-2) > 1e-12 || math.Abs(i.High-2.1) > 1e-12 {
		t.Errorf("got %+v", i)
	}
}
