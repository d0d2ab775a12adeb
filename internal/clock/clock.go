// Package clock has an interface for the time, so that a test can use another clock. It separates two times that time.Now
// has in one value. The wall time can be set, so it can step back and forth: it is for timestamps. The monotonic time cannot
// be set: it is for durations and waits.
//
// Deadlines of contexts and sockets do not use a Clock, because the runtime keeps them.
package clock

import "time"

// Clock is a source of time. It is safe for concurrent use.
type Clock interface {
	// Now is the wall time. It has no monotonic reading.
	Now() time.Time
	// Monotonic is the time since the clock was made. The monotonic times of two clocks must not be compared.
	Monotonic() time.Duration
	// After returns a channel that gets one value after d of monotonic time.
	After(d time.Duration) <-chan time.Time
	// AfterFunc calls f in a new goroutine after d of monotonic time. If stop is called before that, f is not called,
	// and stop returns true.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// System returns the clock of this machine.
func System() Clock { return system{time.Now()} }

// OrSystem returns c, or the clock of this machine if c is nil.
func OrSystem(c Clock) Clock {
	if c == nil {
		return System()
	}
	return c
}

type system struct{ began time.Time }

func (system) Now() time.Time { return time.Now().Round(0) }

func (s system) Monotonic() time.Duration { return time.Since(s.began) }

func (system) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (system) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
