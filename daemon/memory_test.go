package daemon

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// resident is how much of this program's file is in memory and not changed, in KiB.
func resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "RssFile:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Skip("skipped: the kernel does not tell what of files is resident")
	return 0
}

func TestForgetStart(t *testing.T) {
	executable, err := os.ReadFile("/proc/self/exe") // so that all of it is in the page cache
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	releaseStartupPages()
	if after := resident(t); after >= before {
		t.Errorf("%d KiB of a program of %d KiB are resident, before it were %d", after, len(executable)>>10, before)
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string][2]uintptr{"00400000-00aee000": {0x400000, 0xaee000}, "Rss:": {}, "1-x": {}, "": {}} {
		if from, to := addresses(text); from != want[0] || to != want[1] {
			t.Errorf("%q is %x to %x", text, from, to)
		}
	}
}
