package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"socktally/forward/spool"
	"socktally/internal/clock"
	"socktally/metric"
)

const (
	// queuedBatches is how many readings may wait for one sink.
	queuedBatches = 4
	// attemptTimeout is how long one attempt may take.
	attemptTimeout = 10 * time.Second
	// lastAttempt is how long the current attempt may still take when a Forwarder has to end.
	lastAttempt = 3 * time.Second
)

// Options are the settings of a Forwarder.
type Options struct {
	// SpoolDir is the parent folder of the spools. Each acknowledged sink has a folder in it for samples that could not be
	// delivered. If it is "", nothing is kept.
	SpoolDir string
	// SpoolLimits are the limits for each sink.
	SpoolLimits spool.Limits

	Clock clock.Clock // the machine's if nil

	attempt time.Duration // attemptTimeout if 0
}

// Forwarder sends every batch to every sink. Its methods are safe for concurrent use.
type Forwarder struct {
	clock   clock.Clock
	workers []*worker
	running sync.WaitGroup
	ending  chan struct{} // closed when each batch may have only one more attempt
	abort   context.CancelFunc

	closing sync.RWMutex // held for reading while batches are queued
	closed  bool
}

// New starts a Forwarder. It closes the sinks at its end.
func New(log *slog.Logger, o Options, sinks ...Sink) *Forwarder {
	o.Clock = clock.OrSystem(o.Clock)
	if o.attempt == 0 {
		o.attempt = attemptTimeout
	}
	ctx, abort := context.WithCancel(context.Background())
	f := &Forwarder{clock: o.Clock, ending: make(chan struct{}), abort: abort}
	for _, s := range sinks {
		w := &worker{
			Forwarder: f,
			ctx:       ctx,
			attempt:   o.attempt,
			sink:      s,
			log:       log.With("sink", s.Name(), "receiver", s.Receiver()),
			queue:     make(chan batch, queuedBatches),
			ledger:    newLedger(o.Clock.Monotonic()),
		}
		if o.SpoolDir != "" && s.Acknowledged() {
			w.spool = spool.New(filepath.Join(o.SpoolDir, s.Name()), o.SpoolLimits, o.Clock.Now)
			w.spoolState(w.spool.Check())
		}
		f.workers = append(f.workers, w)
		f.running.Go(w.run)
	}
	return f
}

// Count adds n to a count about socktally itself. The next batch of every sink has these counts.
func (f *Forwarder) Count(name string, n int, tags ...string) {
	for _, w := range f.workers {
		w.ledger.add(name, float64(n), tags...)
	}
}

// Forward queues samples for every sink and returns at once. It adds the metrics about socktally itself, with the time
// now. Samples that are neither delivered by the deadline nor kept on disk are dropped. The caller must not change the
// samples any more.
func (f *Forwarder) Forward(samples []metric.Sample, now, deadline time.Time) {
	f.closing.RLock()
	defer f.closing.RUnlock()
	var states []metric.Sample
	for _, w := range f.workers {
		states = append(states, w.states(now)...)
	}
	for _, w := range f.workers {
		b := batch{deadline: f.clock.Monotonic() + deadline.Sub(f.clock.Now())}
		for _, part := range [][]metric.Sample{samples, states, w.ledger.take(now, f.clock.Monotonic())} {
			b.samples = append(b.samples, part...)
		}
		err := errors.New("the forwarder is closed")
		if !f.closed {
			select {
			case w.queue <- b:
				continue
			default:
				err = fmt.Errorf("%d earlier readings wait", queuedBatches)
			}
		}
		w.drop(Loss{Samples: b.samples, Reason: QueueFull, Err: err})
	}
}

// Summary counts what happened to the samples of one sink since the start.
type Summary struct {
	Sink, Receiver string
	// Sent samples have reached the receiver. Spooled samples were written to disk. Dropped samples are lost. A sample
	// from the disk is later counted as Sent and Replayed, or it is removed as Expired or Evicted.
	Sent, Spooled, Dropped, Replayed, Expired, Evicted int
	// LastErr is why samples were last dropped, nil if none were.
	LastErr error
}

// Close waits until every queued batch is delivered, kept or dropped, and every kept sample is replayed, but not longer
// than grace. After that each batch has at most one more attempt, which ends within 3 s. Then Close closes the sinks and
// returns their summaries.
func (f *Forwarder) Close(grace time.Duration) []Summary {
	f.closing.Lock()
	if !f.closed {
		f.closed = true
		for _, w := range f.workers {
			close(w.queue)
		}
	}
	f.closing.Unlock()

	defer f.clock.AfterFunc(grace, func() { close(f.ending) })()
	defer f.clock.AfterFunc(grace+lastAttempt, f.abort)()
	f.running.Wait()
	f.abort()
	var all []Summary
	for _, w := range f.workers {
		all = append(all, w.close())
	}
	return all
}
