package collector

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Each of the following functions makes the samples of one setting, which is the limit of a counter.

func tcpMem(r *reading, v []int) {
	r.add("sockstat.tcp.mem_pressure", float64(v[1])*r.pageKiB)
	r.add("sockstat.tcp.mem_limit", float64(v[2])*r.pageKiB)
	r.ratio("sockstat.tcp.mem_ratio", r.tcp.Mem, v[2])
}

func tcpMaxOrphans(r *reading, v []int) {
	r.add("sockstat.tcp.orphan_limit", float64(v[0]))
	r.ratio("sockstat.tcp.orphan_ratio", r.tcp.Orphan, v[0])
}

func tcpMaxTWBuckets(r *reading, v []int) {
	r.add("sockstat.tcp.tw_limit", float64(v[0]))
	r.ratio("sockstat.tcp.tw_ratio", r.tcp.TW, v[0])
}

func udpMem(r *reading, v []int) {
	r.add("sockstat.udp.mem_limit", float64(v[2])*r.pageKiB)
	r.ratio("sockstat.udp.mem_ratio", r.udp.Mem, v[2])
}

func localPortRange(r *reading, v []int) {
	r.add("sockstat.ports.range", float64(v[1]-v[0]+1))
}

// sysctl returns a function that reads a setting of n numbers and calls add with them.
func sysctl(n int, add func(r *reading, v []int)) func(*reading, string) error {
	return func(r *reading, path string) error {
		v, err := readSysctl(path, n)
		if err != nil {
			return fmt.Errorf("read limit: %w", err)
		}
		add(r, v)
		return nil
	}
}

// readSysctl returns the numbers of a setting below /proc/sys. It fails if there are not exactly n. It does not use package
// os, which would add the file to the runtime's poller: for five files that is a third of the cost of a reading.
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
