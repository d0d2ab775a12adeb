package collector

import (
	"fmt"
)

// The settings that limit the counters, each with its samples.

func tcpMem(r *reading, v []int) {
	r.add("sockstat.tcp.mem_pressure", float64(v[1])*r.pageKiB)
	r.add("sockstat.tcp.mem_limit", float64(v[2])*r.pageKiB)
	r.ratio("sockstat.tcp.mem_ratio", "tcp.mem", v[2])
}

func tcpMaxOrphans(r *reading, v []int) {
	r.add("sockstat.tcp.orphan_limit", float64(v[0]))
	r.ratio("sockstat.tcp.orphan_ratio", "tcp.orphan", v[0])
}

func tcpMaxTWBuckets(r *reading, v []int) {
	r.add("sockstat.tcp.tw_limit", float64(v[0]))
	r.ratio("sockstat.tcp.tw_ratio", "tcp.tw", v[0])
}

func udpMem(r *reading, v []int) {
	r.add("sockstat.udp.mem_limit", float64(v[2])*r.pageKiB)
	r.ratio("sockstat.udp.mem_ratio", "udp.mem", v[2])
}

func conntrackCount(r *reading, v []int) {
	r.values["conntrack.count"] = v[0]
	r.add("sockstat.conntrack.count", float64(v[0]))
}

func conntrackMax(r *reading, v []int) {
	r.add("sockstat.conntrack.limit", float64(v[0]))
	r.ratio("sockstat.conntrack.ratio", "conntrack.count", v[0])
}

// sysctl returns the source for a setting with n numbers. name is its path below /proc/sys. add makes the samples.
func sysctl(name string, n int, add func(r *reading, v []int)) source {
	return source{file: "sys/" + name, read: func(r *reading, path string) error {
		v, err := r.proc.SysctlInts(name)
		switch {
		case err != nil:
			return fmt.Errorf("read limit: %s: %w", path, err)
		case len(v) != n:
			return fmt.Errorf("read limit: %s: found %d numbers, want %d", path, len(v), n)
		}
		add(r, v)
		return nil
	}}
}
