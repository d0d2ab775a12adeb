// Package clocktest has a clock for tests. The test moves it.
package clocktest

import (
	"slices"
	"sync"
	"time"

	"socktally/internal/clock"
)

// Clock stands still until a test moves it.
type Clock struct {
	mu        sync.Mutex
	wall      time.Time
	monotonic time.Duration
	waiting   []*waiter
}

type waiter struct {
	at   time.Duration
	fire func(now time.Time)
}

var _ clock.Clock = (*Clock)(nil)

// New returns a clock that begins at the wall time begin.
func New(begin time.Time) *Clock { return &Clock{wall: begin.Round(0)} }

// Advance moves both times by d and fires what is due.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.monotonic = c.wall.Add(d), c.monotonic+d
	c.waiting = slices.DeleteFunc(c.waiting, func(w *waiter) bool {
		due := w.at <= c.monotonic
		if due {
			w.fire(c.wall)
		}
		return due
	})
}

// Step moves only the wall time by d, as if somebody set the machine's clock. d may be negative.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// Now implements clock.Clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Monotonic implements clock.Clock.
func (c *Clock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.monotonic
}

// After implements clock.Clock.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	fired := make(chan time.Time, 1)
	c.wait(d, func(now time.Time) { fired <- now })
	return fired
}

// AfterFunc implements clock.Clock.
func (c *Clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	w := c.wait(d, func(time.Time) { go f() })
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		before := len(c.waiting)
		c.waiting = slices.DeleteFunc(c.waiting, func(other *waiter) bool { return other == w })
		return len(c.waiting) < before
	}
}

// wait calls fire after d. If d is not positive, it calls fire at once.
func (c *Clock) wait(d time.Duration, fire func(time.Time)) *waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &waiter{c.monotonic + d, fire}
	if d <= 0 {
		fire(c.wall)
	} else {
		c.waiting = append(c.waiting, w)
	}
	return w
}
