package store_test

import (
	"os"
	"strings"
	"testing"

	"socktally/internal/clock/clocktest"
	"socktally/store"
)

// TestAsideIsStampedByTheClock reads the time in the name of a file that was moved aside.
func TestAsideIsStampedByTheClock(t *testing.T) {
	path := written(t, 1)
	if err := os.WriteFile(path, []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, store.Options{Path: path, Clock: clocktest.New(noon)})
	if names := aside(t, path); len(names) != 1 || !strings.HasSuffix(names[0], ".damaged-"+noon.UTC().Format("20060102T150405Z")) {
		t.Errorf("aside: %q, want it stamped %v", names, noon)
	}
}
