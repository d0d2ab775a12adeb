package daemon

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseStartupPages releases the pages of the program's code and constants. The kernel loads them again from the page
// cache when they are needed. Many are needed only at the start, when all packages are initialised, also those that are
// not used with these settings. The resident memory is 11.6 MB without this and 7.4 MB with it. If it fails, only memory
// is lost.
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
			// No loader and no debugger has changed this mapping, so it is the same as in the file.
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}

// addresses parses "from-to" in hexadecimal. Both are 0 if that fails.
func addresses(text string) (from, to uintptr) {
	first, last, _ := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(first, 16, 64)
	b, errB := strconv.ParseUint(last, 16, 64)
	if errA != nil || errB != nil {
		return 0, 0
	}
	return uintptr(a), uintptr(b)
}
