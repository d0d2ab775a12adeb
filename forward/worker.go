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
	// replayPart is how many kept samples one attempt sends at most. It limits the memory of a replay.
	replayPart = 2000
	// replayPause is the wait before the next replay after an error of the spool.
	replayPause = time.Minute
	// maxRetryAfter is the longest wait that a receiver can ask for.
	maxRetryAfter = 5 * time.Minute
)

// batch has the samples of one reading for one sink.
type batch struct {
	samples  []metric.Sample
	deadline time.Duration // monotonic time
}

// worker delivers the batches of one sink. Samples that are not delivered go to the spool at once, and the spool is replayed
// when the receiver accepts samples again. Without a spool, the worker tries again until the deadline of the batch.
type worker struct {
	*Forwarder
	ctx     context.Context
	attempt time.Duration
	sink    Sink
	log     *slog.Logger
	queue   chan batch
	ledger  *ledger
	spool   *spool.Spool // nil if nothing is kept

	// Only used by run.
	failures    int           // failed attempts since the last successful one
	notBefore   time.Duration // monotonic time of the next attempt after a failure
	spoolError  string        // why the spool does not work, "" if it works
	replayAfter time.Duration // monotonic time of the next replay after an error of the spool

	mu           sync.Mutex
	summary      Summary
	success      time.Time       // wall time of the last batch that was delivered completely
	failing      map[Reason]bool // why samples are not delivered, empty if they are
	failingSince time.Duration   // monotonic time
	droppedUntil int             // Summary.Dropped at that time
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

// retryDue returns a channel that fires when the spool should be replayed again after a failure.
func (w *worker) retryDue() <-chan time.Time {
	if w.failures == 0 || w.spool == nil {
		return nil
	}
	return w.clock.After(w.notBefore - w.clock.Monotonic())
}

// deliver sends a batch. If that fails, it keeps the batch on disk or, if that is not possible, tries again until the
// deadline.
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

// send makes one attempt, which ends at the deadline. It returns the losses for which another attempt makes sense.
func (w *worker) send(samples []metric.Sample, deadline time.Duration) []Loss {
	timeout := min(w.attempt, deadline-w.clock.Monotonic())
	// A batch that has waited in the queue for a long time still gets a short attempt.
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

// backingOff says that an attempt has failed and the wait after it is not over.
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

// keep writes samples to the spool. It returns false if there is no spool or that fails.
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

// replay sends the samples in the spool, the oldest first. It stops if a new batch waits, if an attempt fails, or if the
// forwarder has to end.
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
		// Without a pause, samples that cannot be removed would be sent again and again.
		w.replayAfter = w.clock.Monotonic() + replayPause
	}
	if !tried && w.failures > 0 {
		// The spool was empty, so there was no attempt. The next new batch makes one.
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

// keepCounts writes the last counts to the spool if there is a loss among them, because there will be no batch after them.
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

// delivered counts samples that have reached the receiver.
func (w *worker) delivered(n int) {
	w.Count(metric.SamplesSent, n, "sink:"+w.sink.Name())
	w.mu.Lock()
	w.summary.Sent += n
	w.mu.Unlock()
}

// replayed counts delivered samples that were in the spool.
func (w *worker) replayed(n int) {
	w.Count(metric.SamplesReplayed, n, "sink:"+w.sink.Name())
	w.mu.Lock()
	w.summary.Replayed += n
	w.mu.Unlock()
}

// drop drops samples. The counts about socktally itself among them go into the sink's next batch.
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

// spoolDropped counts what the spool has dropped.
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

// spoolState logs one line when the spool stops working and one when it works again.
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

// markDown notes that samples are not delivered. It logs each reason once until samples are delivered again.
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

// markUp notes that a batch was delivered completely.
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

// states returns gauges about this sink.
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
