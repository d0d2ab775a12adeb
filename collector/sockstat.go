package collector

import (
	"fmt"
	"strings"

	"github.com/prometheus/procfs"
)

// sockstat reads /proc/self/net/sockstat. Every kernel has this file, with one protocol at least.
func sockstat(r *reading, path string) error {
	stat, err := r.self.NetSockstat()
	if err == nil && len(stat.Protocols) == 0 {
		err = fmt.Errorf("%s holds no protocol", path)
	}
	if err != nil {
		return fmt.Errorf("read sockstat: %w", err)
	}
	if stat.Used != nil {
		r.add("sockstat.sockets.used", float64(*stat.Used))
	}
	r.protocols(stat.Protocols)
	r.tcp, r.udp = find(stat.Protocols, "TCP"), find(stat.Protocols, "UDP")
	return nil
}

// sockstat6 reads the same for IPv6.
func sockstat6(r *reading, _ string) error {
	stat, err := r.self.NetSockstat6()
	if err != nil {
		return fmt.Errorf("read sockstat6: %w", err)
	}
	r.protocols(stat.Protocols)
	return nil
}

// protocols adds the samples of lines of sockstat.
func (r *reading) protocols(all []procfs.NetSockstatProtocol) {
	for _, p := range all {
		prefix := "sockstat." + strings.ToLower(p.Protocol) + "."
		r.addIfKnown(prefix+"inuse", float64(p.InUse))
		for _, f := range [...]struct {
			field string
			value *int
			unit  float64
		}{
			{"orphan", p.Orphan, 1},
			{"tw", p.TW, 1},
			{"alloc", p.Alloc, 1},
			{"mem", p.Mem, r.pageKiB}, // pages
			{"memory", p.Memory, 1},   // bytes
		} {
			if f.value != nil {
				r.addIfKnown(prefix+f.field, float64(*f.value)*f.unit)
			}
		}
	}
}

// find returns the line of a protocol, or an empty line.
func find(all []procfs.NetSockstatProtocol, protocol string) procfs.NetSockstatProtocol {
	for _, p := range all {
		if p.Protocol == protocol {
			return p
		}
	}
	return procfs.NetSockstatProtocol{}
}
