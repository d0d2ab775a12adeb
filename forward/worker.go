package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"socktally/forward/spool"
	"socktally/metric"
)

const (
	// replayPart is how many kept samples one attempt sends at most, which bounds the memory that a
	// replay takes.
	replayPart = 2000
	// replayPause is how long a spool that fails is left alone.
	replayPause = time.Minute
	// maxRetryAfter bounds how long a receiver can ask to be left alone.
	maxRetryAfter = 5 * time.Minute
)

// batch is the samples of one reading on their way to one sink.
type batch struct {
	samples  []metric.Sample
	deadline time.Duration // monotonic time
}

// worker delivers the batches of one sink. What the sink cannot deliver goes to the spool at once,
// and the spool is replayed when the receiver takes samples again; where there is no spool, attempts
// are repeated until the batch's deadline.
type worker struct {
	*Forwarder
	ctx     context.Context
	attempt time.Duration
	sink    Sink
	log     *slog.Logger
	queue   chan batch
	ledger  *ledger
	spool   *spool.Spool // nil where nothing is kept

	// Used by run alone.
	failures    int           // attempts since the receiver last took samples
	notBefore   time.Duration // monotonic time, when the next attempt is due after a failure
	spoolError  string        // why the spool does not work, "" if it does
	replayAfter time.Duration // monotonic time, when to replay again after the spool failed at it

	mu           sync.Mutex
	summary      Summary
	success      time.Time       // wall time of the last batch that was delivered whole
	failing      map[Reason]bool // why it does not take samples, empty while it does
	failingSince time.Duration   // monotonic time
	droppedUntil int             // Summary.Dropped when the failure began
}

func (w *worker) run() {
	for {
		select {
		case b, open := <-w.queue:
			if !open {
				w.keepCounts()
				return
			}
			w.deliver(b)
			w.replay()
		case <-w.retryDue():
			w.replay()
		}
	}
}

// retryDue returns a channel that fires when the spool is to be tried again after a failure.
func (w *worker) retryDue() <-chan time.Time {
	if w.failures == 0 || w.spool == nil {
		return nil
	}
	return w.clock.After(w.notBefore - w.clock.Monotonic())
}

// deliver sends a batch, or keeps it, or repeats until its deadline.
func (w *worker) deliver(b batch) {
	if w.backingOff() && w.keep(b.samples) {
		return
	}
	pending := b.samples
	for {
		again := w.send(pending, b.deadline)
		if len(again) == 0 {
			return
		}
		pending = samplesOf(again)
		if w.keep(pending) {
			return
		}
		if !w.waitForRetry(b.deadline) {
			for _, l := range again {
				if w.spoolError != "" {
					l.Err = fmt.Errorf("%w (and not kept: %s)", l.Err, w.spoolError)
				}
				w.drop(l)
			}
			return
		}
	}
}

// send makes one attempt, which ends by the deadline, and returns what is worth another.
func (w *worker) send(samples []metric.Sample, deadline time.Duration) []Loss {
	timeout := min(w.attempt, deadline-w.clock.Monotonic())
	// A batch that waited in the queue for long still gets a short attempt.
	ctx, cancel := context.WithTimeout(w.ctx, max(timeout, w.attempt/10))
	defer cancel()
	losses := w.sink.Send(ctx, samples)
	w.delivered(len(samples) - len(samplesOf(losses)))

	var again []Loss
	var asked time.Duration
	for _, l := range losses {
		if l.Retry {
			again = append(again, l)
			asked = max(asked, min(l.RetryAfter, maxRetryAfter))
		} else {
			w.drop(l)
		}
	}
	if len(again) == 0 {
		w.failures = 0
		if len(losses) == 0 {
			w.markUp()
		}
		return nil
	}
	w.notBefore = w.clock.Monotonic() + max(asked, backoff(w.failures))
	w.failures++
	w.markDown(again[0])
	return again
}

// backingOff says that the receiver failed and is to be left alone for now.
func (w *worker) backingOff() bool {
	return w.failures > 0 && w.clock.Monotonic() < w.notBefore
}

// waitForRetry returns false if the next attempt would come after the deadline.
func (w *worker) waitForRetry(deadline time.Duration) bool {
	if w.notBefore > deadline {
		return false
	}
	select {
	case <-w.ending:
		return false
	case <-w.clock.After(w.notBefore - w.clock.Monotonic()):
		return true
	}
}

// keep puts samples into the spool. It returns false if there is none or it does not work.
func (w *worker) keep(samples []metric.Sample) bool {
	if w.spool == nil {
		return false
	}
	dropped, err := w.spool.Put(samples)
	w.spoolDropped(dropped)
	w.spoolState(err)
	if err != nil {
		return false
	}
	w.mu.Lock()
	w.summary.Spooled += len(samples)
	w.mu.Unlock()
	w.Count(metric.SamplesSpooled, len(samples), "sink:"+w.sink.Name())
	return true
}

// replay sends what the spool holds, the oldest first, until a fresh batch waits, the receiver
// fails or the forwarder has to end.
func (w *worker) replay() {
	if w.spool == nil || w.backingOff() || w.isEnding() || w.clock.Monotonic() < w.replayAfter {
		return
	}
	tried := false
	dropped, err := w.spool.Replay(replayPart, func(samples []metric.Sample) ([]metric.Sample, bool) {
		tried = true
		rest := samplesOf(w.send(samples, w.clock.Monotonic()+w.attempt))
		w.replayed(len(samples) - len(rest))
		return rest, len(rest) == 0 && len(w.queue) == 0 && !w.isEnding()
	})
	w.spoolDropped(dropped)
	if err != nil || tried {
		w.spoolState(err)
	}
	if err != nil {
		// What could not be removed would be sent again and again.
		w.replayAfter = w.clock.Monotonic() + replayPause
	}
	if !tried && w.failures > 0 {
		// There was nothing to try the receiver with; the next fresh batch is.
		w.notBefore = w.clock.Monotonic() + backoff(w.failures)
	}
}

func (w *worker) isEnding() bool {
	select {
	case <-w.ending:
		return true
	default:
		return false
	}
}

// keepCounts keeps the counts that no batch will take any more, if they tell of a loss.
func (w *worker) keepCounts() {
	counts := w.ledger.take(w.clock.Now(), w.clock.Monotonic())
	for _, c := range counts {
		if c.Name == metric.SamplesDropped {
			w.keep(counts)
			return
		}
	}
}

func (w *worker) close() Summary {
	if err := w.sink.Close(); err != nil {
		w.log.Warn("closing failed", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.summary.Sink, w.summary.Receiver = w.sink.Name(), w.sink.Receiver()
	return w.summary
}

// delivered counts samples that reached the receiver.
func (w *worker) delivered(n int) {
	w.Count(metric.SamplesSent, n, "sink:"+w.sink.Name())
	w.mu.Lock()
	w.summary.Sent += n
	w.mu.Unlock()
}

// replayed counts those of the delivered samples that came from the spool.
func (w *worker) replayed(n int) {
	w.Count(metric.SamplesReplayed, n, "sink:"+w.sink.Name())
	w.mu.Lock()
	w.summary.Replayed += n
	w.mu.Unlock()
}

// drop gives samples up. The counts among them are told by the sink's next batch instead.
func (w *worker) drop(l Loss) {
	w.markDown(l)
	w.mu.Lock()
	w.summary.Dropped += len(l.Samples)
	w.summary.LastErr = fmt.Errorf("%s: %w", l.Reason, l.Err)
	w.mu.Unlock()
	w.dropped(len(l.Samples), l.Reason)
	w.ledger.putBack(l.Samples)
}

func (w *worker) dropped(n int, reason Reason) {
	w.Count(metric.SamplesDropped, n, "sink:"+w.sink.Name(), "reason:"+string(reason))
}

// spoolDropped counts what the spool gave up.
func (w *worker) spoolDropped(d spool.Dropped) {
	if d.Unreadable > 0 {
		w.log.Error("spool files could not be read and were moved aside", "files", d.Unreadable)
	}
	if d.Expired > 0 {
		w.markDown(Loss{Reason: Age, Err: errors.New("kept samples became too old")})
	}
	if d.Evicted > 0 {
		w.markDown(Loss{Reason: Size, Err: errors.New("the spool is full, the oldest samples went")})
	}
	w.dropped(d.Expired, Age)
	w.dropped(d.Evicted, Size)
	w.ledger.putBack(d.Counts)
	w.mu.Lock()
	w.summary.Expired += d.Expired
	w.summary.Evicted += d.Evicted
	w.mu.Unlock()
}

// spoolState logs once when the spool stops to work and once when it works again.
func (w *worker) spoolState(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case (text == "") == (w.spoolError == ""):
	case text == "":
		w.log.Info("spool works again")
	default:
		w.log.Warn("spool does not work: samples that cannot be delivered are lost", "error", err)
	}
	w.spoolError = text
}

// down notes that the receiver does not take samples, and logs each reason once until it does.
func (w *worker) markDown(l Loss) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing[l.Reason] {
		return
	}
	if len(w.failing) == 0 {
		w.failing = map[Reason]bool{}
		w.failingSince, w.droppedUntil = w.clock.Monotonic(), w.summary.Dropped
	}
	w.failing[l.Reason] = true
	w.log.Warn("samples are not delivered", "reason", string(l.Reason), "error", l.Err)
}

// up notes that samples were delivered whole.
func (w *worker) markUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failing) > 0 {
		w.log.Info("samples are delivered again", "after", (w.clock.Monotonic() - w.failingSince).Round(time.Millisecond).String(), "dropped", w.summary.Dropped-w.droppedUntil)
		w.failing = nil
	} else if w.success.IsZero() {
		w.log.Info("samples are delivered")
	}
	w.success = w.clock.Now()
}

// states returns gauges of how this sink does.
func (w *worker) states(now time.Time) []metric.Sample {
	w.mu.Lock()
	success := w.success
	w.mu.Unlock()
	tags := []string{"sink:" + w.sink.Name()}
	var samples []metric.Sample
	if !success.IsZero() {
		samples = append(samples, metric.Sample{Name: metric.LastSuccess, Kind: metric.Gauge, Time: now, Value: float64(success.UnixMilli()) / 1000, Tags: tags})
	}
	if w.spool != nil {
		if n, err := w.spool.Bytes(); err == nil {
			samples = append(samples, metric.Sample{Name: metric.SpoolBytes, Kind: metric.Gauge, Time: now, Value: float64(n), Tags: tags})
		}
	}
	return samples
}
