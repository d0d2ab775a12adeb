package forward

import (
	"time"

	"socktally/internal/clock/clocktest"
)

// WithTestClock returns options whose time a test moves by hand and whose attempts end early.
func WithTestClock(o Options, attempt time.Duration) (Options, *clocktest.Clock) {
	clock := newTestClock()
	o.Clock, o.attempt = clock, attempt
	return o, clock
}

// Sent returns how many samples the first sink has delivered so far.
func (f *Forwarder) Sent() int {
	w := f.workers[0]
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.summary.Sent
}

// Eventually exports eventually.
var Eventually = eventually
