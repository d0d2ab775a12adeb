package forward_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"socktally/forward"
	"socktally/metric"
)

// printer is a sink that prints samples.
type printer struct{}

func (printer) Name() string       { return "printer" }
func (printer) Receiver() string   { return "stdout" }
func (printer) Acknowledged() bool { return true }
func (printer) Close() error       { return nil }

func (printer) Send(_ context.Context, samples []metric.Sample) []forward.Loss {
	for _, s := range samples {
		fmt.Println(s.Name, s.Kind, s.Value)
	}
	return nil
}

func Example() {
	f := forward.New(slog.New(slog.DiscardHandler), forward.Options{}, printer{})
	f.Count(metric.Readings, 1)
	now := time.Now()
	f.Forward([]metric.Sample{{Name: "sockstat.tcp.inuse", Value: 40, Time: now}}, now, now.Add(15*time.Second))
	for _, summary := range f.Close(time.Minute) {
		fmt.Println(summary.Sink, summary.Sent, summary.Dropped)
	}
	// Output:
	// sockstat.tcp.inuse gauge 40
	// socktally.readings count 1
	// printer 2 0
}
