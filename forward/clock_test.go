package forward

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// fakeClock stands still until a test moves it.
type fakeClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting []waiter
}

type waiter struct {
	at time.Time
	c  chan time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := waiter{c.now.Add(d), make(chan time.Time, 1)}
	if d <= 0 {
		w.c <- c.now
	} else {
		c.waiting = append(c.waiting, w)
	}
	return w.c
}

// advance moves the clock and fires what is due.
func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waiting = slices.DeleteFunc(c.waiting, func(w waiter) bool {
		due := !w.at.After(c.now)
		if due {
			w.c <- c.now
		}
		return due
	})
}

func TestBackoffGrowsToItsCap(t *testing.T) {
	full := backoffBase
	for attempt := range 1000 {
		got := backoff(attempt)
		if got < full/2 || got > full {
			t.Fatalf("backoff(%d) = %v, want %v to %v", attempt, got, full/2, full)
		}
		full = min(2*full, backoffCap)
	}
}
