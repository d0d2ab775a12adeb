package daemon

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetStart unmaps the program's code, which comes back from the page cache piece by piece as it is
// needed. Much of it is needed by the start alone, when every package makes itself ready, also those that
// these settings have no use for. Where it cannot be done, nothing is different.
func forgetStart() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	executable, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		// address, permissions, offset, device, inode, path
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[5] != executable || fields[1] != "r-xp" {
			continue // what is not code may have been written to, if only by a loader
		}
		var from, to uintptr
		if n, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); n == 2 && err == nil {
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
