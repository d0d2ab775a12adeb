package forward

import (
	"context"
	"fmt"
	"testing"
	"time"

	"socktally/metric"
)

// TestWallClockThatIsSet steps the wall clock back and forth between a failed attempt and the next one. That changes
// neither the time of the retry, nor the time of the reading, nor the interval of the counts.
func TestWallClockThatIsSet(t *testing.T) {
	for _, step := range []time.Duration{-24 * time.Hour, -time.Second, time.Hour} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			clock := newTestClock()
			sink := &scriptedSink{name: "s"}
			sink.set(func(ctx context.Context, samples []metric.Sample) []Loss {
				sink.set(nil)
				return refuse(Unreachable, true)(ctx, samples)
			})
			var log logBuffer
			f := New(log.logger(), Options{Clock: clock}, sink)
			first := clock.Now()
			f.Forward(reading(first), first, first.Add(15*time.Second))
			eventually(t, "the failure", func() bool { return log.count("samples are not delivered") > 0 })
			clock.Step(step)
			clock.Advance(backoffBase)
			eventually(t, "the second attempt", func() bool { return sink.sum("sockstat.tcp.inuse") > 0 })
			clock.Advance(15*time.Second - backoffBase)
			second := clock.Now()
			f.Count(metric.Readings, 1)
			f.Forward(reading(second), second, second.Add(15*time.Second))
			if s := f.Close(0)[0]; s.Dropped > 0 {
				t.Errorf("%+v", s)
			}
			sink.mu.Lock()
			defer sink.mu.Unlock()
			for i, m := range sink.delivered[:2] {
				if !m.Time.Equal(first) {
					t.Errorf("sample %d of the first reading is of %v, want %v", i, m.Time, first)
				}
			}
			intervals := 0
			for _, m := range sink.delivered {
				if m.Name == metric.Readings {
					intervals++
					if m.Interval != 15*time.Second || !m.Time.Equal(second) {
						t.Errorf("got %+v, want a count of 15 s to %v", m, second)
					}
				}
			}
			if intervals != 1 {
				t.Errorf("%d counts of readings, want 1", intervals)
			}
		})
	}
}
