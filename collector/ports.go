package collector

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portRange reads ip_local_port_range. It also reads ip_local_reserved_ports, the ports that the kernel does not give to
// clients.
func portRange(r *reading, path string) error {
	ends, err := r.proc.SysctlInts("net/ipv4/ip_local_port_range")
	switch {
	case err != nil:
		return fmt.Errorf("read limit: %s: %w", path, err)
	case len(ends) != 2:
		return fmt.Errorf("read limit: %s: found %d numbers, want 2", path, len(ends))
	}
	reserved := filepath.Join(filepath.Dir(path), "ip_local_reserved_ports")
	text, err := r.contents(reserved)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read limit: %w", err)
	}
	kept, err := portsWithin(string(text), ends[0], ends[1])
	if err != nil {
		return fmt.Errorf("read limit: %s: %w", reserved, err)
	}
	r.add("sockstat.ports.range", float64(ends[1]-ends[0]+1-kept))
	return nil
}

// portsWithin counts the ports of a list such as "8080,30000-32767" that are between first and last, both included. In
// the kernel's list no port comes twice.
func portsWithin(list string, first, last int) (int, error) {
	count := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return 0, err
		}
		high, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return 0, err
		}
		count += max(0, min(int(high), last)-max(int(low), first)+1)
	}
	return count, nil
}
