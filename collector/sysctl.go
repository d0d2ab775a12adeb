package collector

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// readSysctl returns the numbers of a setting below /proc/sys, of which there are to be n. It opens
// the file without the os package, which would hand it to the poller at a third of the whole cost:
// five such files are read each time.
func readSysctl(path string, n int) ([]int, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	// The kernel prints the whole setting into one read; the longest here is three numbers.
	var buf [128]byte
	size, err := syscall.Read(fd, buf[:])
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	fields := strings.Fields(string(buf[:max(size, 0)]))
	if len(fields) != n {
		return nil, fmt.Errorf("%s: found %d numbers, want %d", path, len(fields), n)
	}
	numbers := make([]int, n)
	for i, f := range fields {
		if numbers[i], err = strconv.Atoi(f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return numbers, nil
}
