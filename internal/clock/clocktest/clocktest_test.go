package clocktest

import (
	"testing"
	"time"

	"socktally/internal/clock"
)

func TestStepMovesTheWallTimeAlone(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := New(begin)
	ended, stopped := make(chan struct{}), make(chan struct{})
	hour, minute, now := c.After(time.Hour), c.After(time.Minute), c.After(0)
	c.AfterFunc(time.Minute, func() { close(ended) })
	stop := c.AfterFunc(time.Minute, func() { close(stopped) })
	<-now
	c.Step(2 * time.Hour)
	c.Step(-3 * time.Hour)
	if !stop() || stop() {
		t.Error("a call that was to come could not be stopped, or be stopped twice")
	}
	c.Advance(time.Minute - 1)
	select {
	case <-minute:
		t.Error("a wait ended before its time")
	case <-ended:
		t.Error("a call came before its time")
	default:
	}
	c.Advance(1)
	if got := <-minute; !got.Equal(begin.Add(time.Minute - time.Hour)) {
		t.Errorf("the wait ended at %v", got)
	}
	<-ended
	select {
	case <-hour:
		t.Error("a step ended a wait")
	case <-stopped:
		t.Error("a call came that was stopped")
	default:
	}
	if wall, gone := c.Now(), c.Monotonic(); !wall.Equal(begin.Add(time.Minute-time.Hour)) || gone != time.Minute {
		t.Errorf("it is %v, and %v have gone by", wall, gone)
	}
}

// TestSystem checks the same contract for the clock of the machine, as far as a test can move that.
func TestSystem(t *testing.T) {
	c := clock.OrSystem(nil)
	begin, ended := c.Monotonic(), make(chan struct{})
	stop := c.AfterFunc(time.Hour, func() { close(ended) })
	<-c.After(time.Millisecond)
	if gone := c.Monotonic() - begin; gone < time.Millisecond {
		t.Errorf("%v went by in a wait of 1ms", gone)
	}
	if now := c.Now(); now != now.Round(0) {
		t.Errorf("%v has a monotonic reading", now)
	}
	if !stop() {
		t.Error("a call that was to come could not be stopped")
	}
	c.AfterFunc(0, func() { close(ended) })
	<-ended
	if mine := New(time.Now()); clock.OrSystem(mine) != clock.Clock(mine) {
		t.Error("another clock than was given")
	}
}
