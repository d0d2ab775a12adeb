package collector

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// readFile reads a small file of the proc file system. It opens it without the os package, which would hand
// it to the poller at a third of the whole cost: seven such files are read each time.
func readFile(path string) (string, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	var text strings.Builder
	var buf [1024]byte
	for {
		switch n, err := syscall.Read(fd, buf[:]); {
		case err == syscall.EINTR:
		case err != nil:
			return "", &os.PathError{Op: "read", Path: path, Err: err}
		case n <= 0:
			return text.String(), nil
		default:
			text.Write(buf[:n])
		}
	}
}

// readSysctl returns the numbers of a setting below /proc/sys, of which there are to be n.
func readSysctl(path string, n int) ([]int, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(text)
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
