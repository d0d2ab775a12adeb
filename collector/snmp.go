package collector

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// counterMetric is the metric of a counter, by its line and its name in snmp or netstat, "" if it is not sent. The
// kernel counts TCP's for IPv4 and IPv6 together, and UDP's here for IPv4 alone.
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

// counters is the reader of snmp and netstat: each line of names is followed by one of values, and both begin with
// the same word. What cannot be understood is one error for each fault, and costs the counter or the two lines that
// it is in.
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

// counterLine adds what is sent of a line, and returns its faults.
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
