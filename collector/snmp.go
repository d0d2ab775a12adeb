package collector

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// counterMetric returns the metric for a counter in a line of snmp or netstat, or "" if the counter is not sent. The
// counters of TCP are for IPv4 and IPv6 together. Those of UDP in these files are only for IPv4.
func counterMetric(line, counter []byte) string {
	switch string(line) {
	case "Tcp":
		switch string(counter) {
		case "RetransSegs":
			return "sockstat.tcp.retrans_segs"
		}
	case "TcpExt":
		switch string(counter) {
		case "ListenOverflows":
			return "sockstat.tcp.listen_overflows"
		case "ListenDrops":
			return "sockstat.tcp.listen_drops"
		case "SyncookiesSent":
			return "sockstat.tcp.syncookies_sent"
		case "TCPMemoryPressures":
			return "sockstat.tcp.memory_pressures"
		case "TCPAbortOnMemory":
			return "sockstat.tcp.abort_on_memory"
		}
	case "Udp":
		switch string(counter) {
		case "RcvbufErrors":
			return "sockstat.udp.rcvbuf_errors"
		case "SndbufErrors":
			return "sockstat.udp.sndbuf_errors"
		case "NoPorts":
			return "sockstat.udp.no_ports"
		}
	}
	return ""
}

// counters returns the reader for snmp and netstat. In these files a line of values follows each line of names, and both
// begin with the same word. Each fault is one error. Because of a fault, only its counter or its two lines are left out.
func counters(what string) func(*reading, string) error {
	return func(r *reading, path string) error {
		text, err := r.contents(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		var faults []error
		for len(text) > 0 {
			var names []byte
			names, text, _ = bytes.Cut(text, []byte("\n"))
			line, _, found := bytes.Cut(names, []byte(":"))
			values, rest, _ := bytes.Cut(text, []byte("\n"))
			if !found || !bytes.HasPrefix(values, names[:len(line)+1]) {
				faults = append(faults, fmt.Errorf("read %s: %s: line %.40q is not followed by its values", what, path, names))
				continue
			}
			text = rest
			for _, err := range r.counterLine(line, bytes.Fields(names)[1:], bytes.Fields(values)[1:]) {
				faults = append(faults, fmt.Errorf("read %s: %s: line %s: %w", what, path, line, err))
			}
		}
		return errors.Join(faults...)
	}
}

// counterLine adds the samples of a line and returns the faults in it.
func (r *reading) counterLine(line []byte, names, values [][]byte) (faults []error) {
	if len(names) != len(values) {
		return []error{fmt.Errorf("%d names and %d values", len(names), len(values))}
	}
	for i, name := range names {
		metric := counterMetric(line, name)
		if metric == "" {
			continue
		}
		value, err := strconv.ParseUint(string(values[i]), 10, 64)
		if err != nil {
			faults = append(faults, fmt.Errorf("counter %s: %w", name, err))
			continue
		}
		r.add(metric, float64(value))
	}
	return faults
}
