// Package clock tells the time, so that a test can tell another. It keeps apart what a time.Time of time.Now has
// in one: the wall time, which can be set and so can step back and forth, and the monotonic time, which cannot.
// A wall time stamps what others read. How long something took, or shall wait, is told by the monotonic time.
//
// The deadlines of contexts and sockets, which the runtime keeps, are not told by a Clock.
package clock

import "time"

// Clock is a source of time. It is safe for concurrent use.
type Clock interface {
	// Now is the wall time. It has no monotonic reading.
	Now() time.Time
	// Monotonic is how long ago the clock began. Two clocks began at two moments, so that what one tells is
	// not to be compared with what another does.
	Monotonic() time.Duration
	// After returns a channel that gets one value after d of monotonic time.
	After(d time.Duration) <-chan time.Time
	// AfterFunc calls f in a goroutine of its own after d of monotonic time, unless stop is called before,
	// which then returns true.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// System returns a clock that tells the time of this machine.
func System() Clock { return system{time.Now()} }

// OrSystem returns c, or the clock of this machine where c is nil.
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
