package record

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func latencyOf(us ...int) *Latency {
	var l Latency
	for _, n := range us {
		l.Add(time.Duration(n) * time.Microsecond)
	}
	return &l
}

func TestLatencyKeepsItsBinaryForm(t *testing.T) {
	into := latencyOf(7, 70_000) // what an earlier decoding left
	for _, l := range []*Latency{{}, latencyOf(0), latencyOf(1), latencyOf(3, 5, 5, 900, 2_000_000), latencyOf(15_000_000)} {
		form, err := l.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		if err := into.UnmarshalBinary(form[len("before"):]); err != nil {
			t.Fatal(err)
		}
		if into.Count() != l.Count() {
			t.Errorf("%d durations became %d", l.Count(), into.Count())
		}
		for p := 0.0; p <= 100; p++ {
			if got, want := into.Percentile(p), l.Percentile(p); got != want {
				t.Errorf("percentile %v of %d durations is %d, want %d", p, l.Count(), got, want)
			}
		}
	}
}

func FuzzLatency(f *testing.F) {
	for _, l := range []*Latency{{}, latencyOf(1), latencyOf(3, 5, 5, 900, 2_000_000)} {
		form, _ := l.AppendBinary(nil)
		f.Add(form)
	}
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 3, 1, 0, 1})
	f.Add(bytes.Repeat([]byte{0xff}, 30))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := latencyOf(9)
		if err := l.UnmarshalBinary(data); err != nil {
			if l.Count() != 0 || l.Percentile(50) != 0 {
				t.Fatalf("after %v it holds %d durations", err, l.Count())
			}
			return
		}
		form, err := l.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var again Latency
		if err := again.UnmarshalBinary(form); err != nil {
			t.Fatalf("% x, from % x: %v", form, data, err)
		}
		if again.Count() != l.Count() || again.Percentile(100) != l.Percentile(100) || again.Percentile(50) != l.Percentile(50) {
			t.Fatalf("% x gives another histogram than % x", form, data)
		}
	})
}

func TestPercentiles(t *testing.T) {
	var whole, left, right Latency
	var all []uint64
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		us := uint64(math.Exp(random.Float64() * math.Log(15e6)))
		all = append(all, us)
		d := time.Duration(us) * time.Microsecond
		whole.Add(d)
		if us%2 == 0 {
			left.Add(d)
		} else {
			right.Add(d)
		}
	}
	left.Merge(&right)
	slices.Sort(all)
	for _, p := range []float64{0, 1, 50, 95, 99, 99.9, 100} {
		want := float64(all[max(int(math.Ceil(p/100*float64(len(all)))), 1)-1])
		if got := float64(whole.Percentile(p)); math.Abs(got-want) > accuracy*want+1 {
			t.Errorf("p%v: got %v, want %v", p, got, want)
		}
		if left.Percentile(p) != whole.Percentile(p) {
			t.Errorf("p%v: merging changes it", p)
		}
	}
	if n := len(whole.buckets); n > 1000 {
		t.Errorf("%d buckets", n)
	}
	if new(Latency).Percentile(50) != 0 {
		t.Error("nothing has a percentile")
	}
}
