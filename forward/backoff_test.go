package forward

import "testing"

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
