// Package forwardtest has the tests that every sink must pass, with a real local receiver.
package forwardtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"socktally/forward"
	"socktally/metric"
)

// Receiver is what a sink under test sends to.
type Receiver interface {
	// Received waits until n samples have arrived and returns all samples so far, in any order, without the tags that
	// the sink adds.
	Received(t *testing.T, n int) []metric.Sample
}

// Run checks the contract of forward.Sink. open makes a sink and its receiver.
func Run(t *testing.T, open func(t *testing.T) (forward.Sink, Receiver)) {
	now := time.Now().Truncate(time.Second)
	gauge := metric.Sample{Name: "sockstat.tcp.mem_ratio", Value: 0.1234567890123, Time: now}
	count := metric.Sample{Name: metric.Readings, Kind: metric.Count, Value: 3, Time: now, Interval: 15 * time.Second}
	tagged := metric.Sample{Name: metric.SamplesSent, Kind: metric.Count, Value: 1 << 40, Time: now, Interval: 15 * time.Second, Tags: []string{"sink:http", "team:név"}}
	old := metric.Sample{Name: "sockstat.tcp.tw", Value: 17, Time: now.Add(-40 * time.Minute)}
	oldCount := count
	oldCount.Time = old.Time
	many := make([]metric.Sample, 1000)
	for i := range many {
		many[i] = metric.Sample{Name: "sockstat.tcp.inuse", Value: float64(i), Time: now, Tags: []string{fmt.Sprintf("n:%d", i)}}
	}

	for _, test := range []struct {
		name    string
		batches [][]metric.Sample
	}{
		{"gauge and count", [][]metric.Sample{{gauge, count}}},
		{"tags", [][]metric.Sample{{tagged}}},
		{"samples from the past keep their time", [][]metric.Sample{{gauge, old, oldCount}}},
		{"nothing to send", [][]metric.Sample{{}, {gauge}}},
		{"one batch after another", [][]metric.Sample{{gauge}, {count}, {tagged, gauge}}},
		{"a large batch", [][]metric.Sample{many}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sink, receiver := open(t)
			var want []metric.Sample
			for _, batch := range test.batches {
				before := slices.Clone(batch)
				if lost := sink.Send(t.Context(), batch); lost != nil {
					t.Fatalf("Send lost %v", lost)
				}
				if lines(before) != lines(batch) {
					t.Fatal("Send changed its argument")
				}
				want = append(want, batch...)
			}
			got := receiver.Received(t, len(want))
			if lines(got) != lines(want) {
				t.Errorf("received\n%s\nwant\n%s", lines(got), lines(want))
			}
			if err := sink.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// Loses checks a sink whose receiver does not accept samples: Send returns each sample once with the reason, and it returns
// soon after its context ends.
func Loses(t *testing.T, sink forward.Sink, reason forward.Reason, retry bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	now := time.Now()
	samples := []metric.Sample{
		{Name: "sockstat.tcp.inuse", Value: 1, Time: now},
		{Name: metric.Readings, Kind: metric.Count, Value: 1, Time: now},
		{Name: "sockstat.tcp.tw", Value: 2, Time: now},
	}
	done := make(chan []forward.Loss, 1)
	go func() { done <- sink.Send(ctx, samples) }()
	var losses []forward.Loss
	select {
	case losses = <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Send did not return after its context ended")
	}
	var lost []metric.Sample
	for _, l := range losses {
		lost = append(lost, l.Samples...)
		if l.Reason != reason || l.Retry != retry || l.Err == nil {
			t.Errorf("loss is %s, retry %v, error %v; want %s, retry %v and an error", l.Reason, l.Retry, l.Err, reason, retry)
		}
	}
	if lines(lost) != lines(samples) {
		t.Errorf("lost\n%s\nwant\n%s", lines(lost), lines(samples))
	}
}

// lines prints samples in such a way that equal sets have equal texts. A protocol may leave out the time of a fresh
// sample, and the interval of a count.
func lines(samples []metric.Sample) string {
	all := make([]string, 0, len(samples))
	for _, s := range samples {
		at := "now"
		if time.Since(s.Time) > time.Minute {
			at = s.Time.UTC().Format(time.DateTime)
		}
		all = append(all, fmt.Sprintf("%s %s %v %s %v", s.Name, s.Kind, s.Value, at, s.Tags))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
