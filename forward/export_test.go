package forward

import "time"

// WithTestClock returns options whose time a test moves by hand and whose attempts end early.
func WithTestClock(o Options, attempt time.Duration) (Options, *fakeClock) {
	clock := newFakeClock()
	o.clock, o.attempt = clock, attempt
	return o, clock
}

// Advance moves the clock.
func (c *fakeClock) Advance(d time.Duration) { c.advance(d) }

// Sent returns how many samples the first sink has delivered so far.
func (f *Forwarder) Sent() int {
	w := f.workers[0]
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.summary.Sent
}

// Eventually is eventually.
var Eventually = eventually
