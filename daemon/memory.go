package daemon

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetStart unmaps the program's code and constants, which come back from the page cache piece by piece
// as they are needed. Much of both is needed by the start alone, when every package makes itself ready,
// also those that these settings have no use for: 11.6 MB stay resident without it, 7.4 with it.
// Where it cannot be done, nothing is different.
func releaseStartupPages() {
	mappings, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	executable, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	var from, to uintptr
	for line := range strings.Lines(string(mappings)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && strings.Contains(fields[0], "-"):
			// address, permissions, offset, device, inode, path
			from, to = 0, 0
			if len(fields) == 6 && fields[5] == executable && (fields[1] == "r-xp" || fields[1] == "r--p") {
				from, to = addresses(fields[0])
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && to > from:
			// Nobody, a loader or a debugger, has changed it: what the file has is the same.
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}

// addresses reads "from-to", in hexadecimal; both are 0 if it is not that.
func addresses(text string) (from, to uintptr) {
	first, last, _ := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(first, 16, 64)
	b, errB := strconv.ParseUint(last, 16, 64)
	if errA != nil || errB != nil {
		return 0, 0
	}
	return uintptr(a), uintptr(b)
}
