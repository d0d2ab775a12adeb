package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"socktally/metric"
)

const (
	// queuedBatches is how many readings of one sink may wait. A batch is given up when the next
	// reading is due, so more than one waits only where readings come faster than attempts end.
	queuedBatches = 4
	// attemptTimeout bounds one attempt.
	attemptTimeout = 5 * time.Second
)

// Forwarder hands every batch to every sink. Its methods are safe for concurrent use.
type Forwarder struct {
	log     *slog.Logger
	clock   Clock
	attempt time.Duration
	workers []*worker
	ending  chan struct{} // closed when waits between attempts must end
	running sync.WaitGroup

	closing sync.RWMutex // held for reading while a batch is queued
	closed  bool
}

// New starts a Forwarder. It owns the sinks from now on.
func New(log *slog.Logger, sinks ...Sink) *Forwarder {
	return newForwarder(log, systemClock{}, attemptTimeout, sinks...)
}

func newForwarder(log *slog.Logger, clock Clock, attempt time.Duration, sinks ...Sink) *Forwarder {
	f := &Forwarder{log: log, clock: clock, attempt: attempt, ending: make(chan struct{})}
	for _, s := range sinks {
		w := &worker{
			Forwarder: f,
			sink:      s,
			log:       log.With("sink", s.Name(), "receiver", s.Receiver()),
			queue:     make(chan batch, queuedBatches),
			ledger:    newLedger(clock.Now()),
		}
		f.workers = append(f.workers, w)
		f.running.Go(w.run)
	}
	return f
}

// Count adds n to one of socktally's own counts, which go out with the next batch of every sink.
func (f *Forwarder) Count(name string, n int, tags ...string) {
	for _, w := range f.workers {
		w.ledger.add(name, float64(n), tags...)
	}
}

// Forward queues samples for every sink, with socktally's own counts stamped now, and returns at
// once. What is not delivered by the deadline is given up. The samples are not to be changed after.
func (f *Forwarder) Forward(samples []metric.Sample, now, deadline time.Time) {
	f.closing.RLock()
	defer f.closing.RUnlock()
	var successes []metric.Sample
	for _, w := range f.workers {
		if t := w.lastSuccess(); !t.IsZero() {
			successes = append(successes, metric.Sample{
				Name: metric.LastSuccess, Kind: metric.Gauge, Time: now,
				Value: float64(t.UnixMilli()) / 1000, Tags: []string{"sink:" + w.sink.Name()},
			})
		}
	}
	for _, w := range f.workers {
		b := batch{deadline: deadline}
		for _, part := range [][]metric.Sample{samples, successes, w.ledger.take(now)} {
			b.samples = append(b.samples, part...)
		}
		if f.closed {
			w.drop(Loss{Samples: b.samples, Reason: QueueFull, Err: errors.New("the forwarder is closed")})
			continue
		}
		select {
		case w.queue <- b:
		default:
			w.drop(Loss{Samples: b.samples, Reason: QueueFull, Err: fmt.Errorf("%d earlier readings wait", queuedBatches)})
		}
	}
}

// Summary is what became of the samples of one sink since the start.
type Summary struct {
	Sink, Receiver string
	Sent, Dropped  int
	// LastErr is why samples were last dropped, nil if none were.
	LastErr error
}

// Drain waits until every queued batch is delivered or given up by its own deadline, closes the
// sinks and returns what became of all samples. Every sink is closed when it returns.
func (f *Forwarder) Drain() []Summary {
	f.stopQueues()
	f.running.Wait()
	var all []Summary
	for _, w := range f.workers {
		if err := w.sink.Close(); err != nil {
			w.log.Warn("closing failed", "error", err)
		}
		all = append(all, w.summary())
	}
	return all
}

// Close is Drain for a process that has to end: every batch that still waits gets one more attempt
// and no wait between attempts.
func (f *Forwarder) Close() []Summary {
	close(f.ending)
	return f.Drain()
}

func (f *Forwarder) stopQueues() {
	f.closing.Lock()
	defer f.closing.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	for _, w := range f.workers {
		close(w.queue)
	}
}

// batch is the samples of one reading on their way to one sink.
type batch struct {
	samples  []metric.Sample
	deadline time.Time
}

// worker delivers the batches of one sink.
type worker struct {
	*Forwarder
	sink   Sink
	log    *slog.Logger
	queue  chan batch
	ledger *ledger

	mu            sync.Mutex
	sent, dropped int
	success       time.Time // of the last batch that was delivered whole
	lastErr       error
	failing       Reason // "" while the receiver takes samples
	failingSince  time.Time
	droppedBefore int // at the start of the failure
}

func (w *worker) run() {
	for b := range w.queue {
		w.deliver(b)
	}
}

// deliver makes attempts until the batch is delivered, is not worth another, or is out of time.
func (w *worker) deliver(b batch) {
	pending, whole := b.samples, true
	for attempt := 0; ; attempt++ {
		losses := w.try(pending, b.deadline)
		w.delivered(len(pending) - samplesIn(losses))
		var again []Loss
		pending = nil
		wait := backoff(attempt)
		for _, l := range losses {
			if !l.Retry {
				whole = false
				w.drop(l)
				continue
			}
			again = append(again, l)
			pending = append(pending, l.Samples...)
			wait = max(wait, l.RetryAfter)
		}
		if len(pending) == 0 {
			if whole {
				w.up()
			}
			return
		}
		w.down(again[0])
		if !w.wait(wait, b.deadline) {
			for _, l := range again {
				w.drop(l)
			}
			return
		}
	}
}

// try makes one attempt, which ends by the deadline.
func (w *worker) try(samples []metric.Sample, deadline time.Time) []Loss {
	timeout := min(w.attempt, deadline.Sub(w.clock.Now()))
	// A batch that was queued for long still gets a short attempt.
	ctx, cancel := context.WithTimeout(context.Background(), max(timeout, w.attempt/10))
	defer cancel()
	return w.sink.Send(ctx, samples)
}

// wait returns false if the next attempt would come too late.
func (w *worker) wait(d time.Duration, deadline time.Time) bool {
	if w.clock.Now().Add(d).After(deadline) {
		return false
	}
	select {
	case <-w.ending:
		return false
	case <-w.clock.After(d):
		return true
	}
}

func (w *worker) delivered(n int) {
	w.mu.Lock()
	w.sent += n
	w.mu.Unlock()
	w.Count(metric.SamplesSent, n, "sink:"+w.sink.Name())
}

// drop gives samples up. The counts among them are told by the sink's next batch instead.
func (w *worker) drop(l Loss) {
	w.down(l)
	w.mu.Lock()
	w.dropped += len(l.Samples)
	w.lastErr = fmt.Errorf("%s: %w", l.Reason, l.Err)
	w.mu.Unlock()
	w.ledger.putBack(l.Samples)
	w.Count(metric.SamplesDropped, len(l.Samples), "sink:"+w.sink.Name(), "reason:"+string(l.Reason))
}

// down notes that the receiver does not take samples, and logs that once for each reason.
func (w *worker) down(l Loss) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing == l.Reason {
		return
	}
	if w.failing == "" {
		w.failingSince, w.droppedBefore = w.clock.Now(), w.dropped
	}
	w.failing = l.Reason
	w.log.Warn("samples are not delivered", "reason", string(l.Reason), "error", l.Err)
}

// up notes that a batch was delivered whole.
func (w *worker) up() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	if w.failing != "" {
		w.log.Info("samples are delivered again", "after", now.Sub(w.failingSince).Round(time.Millisecond), "dropped", w.dropped-w.droppedBefore)
		w.failing = ""
	} else if w.success.IsZero() {
		w.log.Info("samples are delivered")
	}
	w.success = now
}

func (w *worker) lastSuccess() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.success
}

func (w *worker) summary() Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Summary{Sink: w.sink.Name(), Receiver: w.sink.Receiver(), Sent: w.sent, Dropped: w.dropped, LastErr: w.lastErr}
}
