package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"socktally/forward/spool"
	"socktally/internal/clock/clocktest"
	"socktally/metric"
)

// scriptedSink does what its script says, and keeps the samples that it delivers.
type scriptedSink struct {
	name         string
	acknowledged bool

	mu        sync.Mutex
	script    func(ctx context.Context, samples []metric.Sample) []Loss // nil delivers
	delivered []metric.Sample
	calls     int
	closed    bool
}

func (s *scriptedSink) Name() string       { return s.name }
func (s *scriptedSink) Receiver() string   { return "test://" + s.name }
func (s *scriptedSink) Acknowledged() bool { return s.acknowledged }

func (s *scriptedSink) Close() error {
	s.closed = true
	return nil
}

func (s *scriptedSink) set(script func(ctx context.Context, samples []metric.Sample) []Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

func (s *scriptedSink) Send(ctx context.Context, samples []metric.Sample) []Loss {
	s.mu.Lock()
	script := s.script
	s.calls++
	s.mu.Unlock()
	var losses []Loss
	if script != nil {
		losses = script(ctx, samples)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := samplesOf(losses)
	for _, m := range samples {
		if !slices.ContainsFunc(lost, func(l metric.Sample) bool { return same(l, m) }) {
			s.delivered = append(s.delivered, m)
		}
	}
	return losses
}

func same(a, b metric.Sample) bool {
	return a.Name == b.Name && a.Kind == b.Kind && a.Value == b.Value && a.Time.Equal(b.Time) && slices.Equal(a.Tags, b.Tags)
}

// sum adds up the delivered values of a count whose tags include all of tags.
func (s *scriptedSink) sum(name string, tags ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0.0
	for _, m := range s.delivered {
		if m.Name == name && !slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(m.Tags, t) }) {
			total += m.Value
		}
	}
	return int(total)
}

func refuse(reason Reason, retry bool) func(context.Context, []metric.Sample) []Loss {
	return func(_ context.Context, samples []metric.Sample) []Loss {
		return []Loss{{Samples: slices.Clone(samples), Reason: reason, Err: errors.New("no"), Retry: retry}}
	}
}

func newTestClock() *clocktest.Clock {
	return clocktest.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
}

// reading makes the samples of one moment.
func reading(now time.Time) []metric.Sample {
	return []metric.Sample{
		{Name: "sockstat.tcp.inuse", Value: float64(now.Unix()), Time: now},
		{Name: "sockstat.udp.inuse", Value: float64(now.Unix()), Time: now},
	}
}

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 10_000 {
		if done() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestDeadReceiverDelaysNoOther(t *testing.T) {
	hung := &scriptedSink{name: "hung"}
	hung.set(func(ctx context.Context, samples []metric.Sample) []Loss {
		<-ctx.Done()
		return refuse(Timeout, true)(ctx, samples)
	})
	good := &scriptedSink{name: "good"}
	f := New(slog.New(slog.DiscardHandler), Options{attempt: 100 * time.Millisecond}, hung, good)
	for range 20 {
		now := time.Now()
		before := good.sum("sockstat.tcp.inuse")
		f.Forward(reading(now), now, now.Add(time.Millisecond))
		eventually(t, "delivery to the good sink", func() bool { return good.sum("sockstat.tcp.inuse") > before })
	}
	all := f.Close(0)
	if all[1].Dropped != 0 || all[1].Sent == 0 {
		t.Errorf("good sink: %+v", all[1])
	}
	if all[0].Sent != 0 || all[0].Dropped == 0 || all[0].LastErr == nil {
		t.Errorf("hung sink: %+v", all[0])
	}
	if !hung.closed || !good.closed {
		t.Error("a sink was not closed")
	}
}

// TestEverySampleIsAccountedFor checks read = sent + dropped, by the metrics that a sink received.
func TestEverySampleIsAccountedFor(t *testing.T) {
	clock := newTestClock()
	sink := &scriptedSink{name: "s"}
	f := New(slog.New(slog.DiscardHandler), Options{Clock: clock}, sink)
	forwarded := 0
	forward := func() {
		now := clock.Now()
		f.Count(metric.Readings, 1)
		f.Forward(reading(now), now, now) // no time for a second attempt
		forwarded++
		eventually(t, "an attempt", func() bool {
			sink.mu.Lock()
			defer sink.mu.Unlock()
			return sink.calls == forwarded
		})
		clock.Advance(15 * time.Second)
	}
	for i := range 30 {
		switch {
		case i%5 == 1:
			sink.set(refuse(ServerError, true))
		case i%5 == 2:
			sink.set(refuse(Rejected, false))
		default:
			sink.set(nil)
		}
		forward()
	}
	sink.set(nil)
	forward()
	forward() // has the counts about the batch before
	summary := f.Close(0)[0]

	if got := sink.sum(metric.Readings); got != 32 {
		t.Errorf("the sink was told of %d readings, want 32", got)
	}
	// No batch has the counts about the last one.
	sent, dropped := sink.sum(metric.SamplesSent), sink.sum(metric.SamplesDropped)
	last := 0
	sink.mu.Lock()
	for _, m := range sink.delivered {
		if m.Time.Equal(clock.Now().Add(-15 * time.Second)) {
			last++
		}
	}
	sink.mu.Unlock()
	if sent != summary.Sent-last || dropped != summary.Dropped {
		t.Errorf("told %d sent and %d dropped, want %d and %d", sent, dropped, summary.Sent-last, summary.Dropped)
	}
	if sink.sum(metric.SamplesDropped, "reason:server_error") == 0 || sink.sum(metric.SamplesDropped, "reason:rejected", "sink:s") == 0 {
		t.Error("a reason is missing")
	}
}

func TestRetriesUntilTheDeadline(t *testing.T) {
	clock := newTestClock()
	sink := &scriptedSink{name: "s"}
	failures := 3
	sink.set(func(ctx context.Context, samples []metric.Sample) []Loss {
		if failures--; failures >= 0 {
			return refuse(Unreachable, true)(ctx, samples)
		}
		return nil
	})
	var log logBuffer
	f := New(log.logger(), Options{Clock: clock}, sink)
	start := clock.Now()
	f.Forward(reading(start), start, start.Add(15*time.Second))
	eventually(t, "delivery after three failures", func() bool {
		clock.Advance(10 * time.Millisecond)
		return sink.sum("sockstat.tcp.inuse") > 0
	})
	if late := clock.Now().Sub(start); late > 15*time.Second {
		t.Errorf("delivered %v after the reading", late)
	}
	for _, m := range sink.delivered {
		if !m.Time.Equal(start) {
			t.Errorf("%s has the time %v, want that of its reading", m.Name, m.Time)
		}
	}
	f.Close(0)
	if log.count("samples are not delivered") != 1 || log.count("samples are delivered again") != 1 {
		t.Errorf("log is\n%s", log.b.String())
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		t.Run(fmt.Sprintf("spool %v", keeps), func(t *testing.T) {
			clock := newTestClock()
			sink := &scriptedSink{name: "s", acknowledged: true}
			sink.set(func(_ context.Context, samples []metric.Sample) []Loss {
				return []Loss{{Samples: slices.Clone(samples), Reason: Throttled, Err: errors.New("slow down"), Retry: true, RetryAfter: 70 * time.Second}}
			})
			o := Options{Clock: clock, SpoolLimits: spool.Limits{MaxBytes: 1 << 20, MaxAge: time.Hour}}
			if keeps {
				o.SpoolDir = t.TempDir()
			}
			f := New(slog.New(slog.DiscardHandler), o, sink)
			first := clock.Now()
			f.Forward(reading(first), first, first.Add(15*time.Second))
			eventually(t, "the first attempt", func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return sink.calls == 1 })
			if keeps {
				// Three more readings pass without an attempt.
				for range 3 {
					clock.Advance(15 * time.Second)
					f.Forward(reading(clock.Now()), clock.Now(), clock.Now().Add(15*time.Second))
				}
				eventually(t, "the readings to be kept", func() bool {
					files, _ := filepath.Glob(filepath.Join(o.SpoolDir, "s", "*.spool"))
					return len(files) == 4
				})
				if sink.calls != 1 {
					t.Errorf("%d attempts within the time that the receiver asked for, want 1", sink.calls)
				}
				sink.set(nil)
				eventually(t, "the replay", func() bool {
					clock.Advance(time.Second)
					return sink.sum("sockstat.tcp.inuse") > 0
				})
				if waited := clock.Now().Sub(first); waited < 70*time.Second {
					t.Errorf("replayed after %v, want 70s", waited)
				}
			}
			f.Close(0)
		})
	}
}

func TestCloseEndsWaitsAndAttempts(t *testing.T) {
	sink := &scriptedSink{name: "s", acknowledged: true}
	sink.set(func(ctx context.Context, samples []metric.Sample) []Loss {
		<-ctx.Done()
		return refuse(Timeout, true)(ctx, samples)
	})
	dir := t.TempDir()
	f := New(slog.New(slog.DiscardHandler), Options{attempt: time.Hour, SpoolDir: dir, SpoolLimits: spool.Limits{MaxBytes: 1 << 20, MaxAge: time.Hour}}, sink)
	now := time.Now()
	for range 3 {
		f.Forward(reading(now), now, now.Add(time.Hour))
	}
	s := f.Close(0)[0]
	if s.Spooled < 6 || s.Dropped != 0 {
		t.Errorf("%+v, want all samples kept", s)
	}
	f.Forward(reading(now), now, now) // must not panic
}

func TestSinkWithoutAcknowledgementKeepsNothing(t *testing.T) {
	sink := &scriptedSink{name: "s"}
	sink.set(refuse(Unreachable, true))
	dir := t.TempDir()
	f := New(slog.New(slog.DiscardHandler), Options{SpoolDir: dir, SpoolLimits: spool.Limits{MaxBytes: 1 << 20, MaxAge: time.Hour}}, sink)
	now := time.Now()
	f.Forward(reading(now), now, now)
	if s := f.Close(0)[0]; s.Spooled != 0 || s.Dropped != 2 {
		t.Errorf("%+v, want 2 dropped", s)
	}
}

// TestLostFlowCountsAreNotToldLater checks that only counts about socktally itself are put back.
func TestLostFlowCountsAreNotToldLater(t *testing.T) {
	now := time.Now()
	l := newLedger(0)
	l.putBack([]metric.Sample{
		{Name: metric.Readings, Kind: metric.Count, Value: 2},
		{Name: metric.FlowLosses, Kind: metric.Count, Value: 3},
		{Name: metric.FlowBytesSent, Kind: metric.Count, Value: 1000, Tags: []string{"remote:192.0.2.1"}},
		{Name: "sockstat.tcp.inuse", Value: 1},
	})
	var names []string
	for _, m := range l.take(now, 0) {
		names = append(names, m.Name)
	}
	if want := []string{metric.FlowLosses, metric.Readings}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}
