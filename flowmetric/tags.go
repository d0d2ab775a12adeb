package flowmetric

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"socktally/metric"
)

// onlyFlows and onlyDNS are the tags that only the metrics of flows, or only those of DNS, have.
var (
	onlyFlows = []string{"source", "server_domain"}
	onlyDNS   = []string{"dns_query", "dns_qtype"}
)

// tag is how one member of SOCKTALLY_FLOW_TAGS is made of a view.
type tag struct {
	key string
	// text is a value that anybody may have written, "" if it is not known.
	text func(*view) string
	// addr is a value that is an address, for where there is no text.
	addr func(*view) netip.Addr
	// number is a value that is one, 0 if it is not known.
	number func(*view) uint32
	// appendAll appends any number of whole tags, each after a comma.
	appendAll func([]byte, *view) []byte
}

// texts are the tags that are made of a string.
var texts = map[string]func(*view) string{
	"direction":      func(v *view) string { return string(v.direction) },
	"protocol":       func(v *view) string { return v.protocol },
	"family":         func(v *view) string { return v.family },
	"source":         func(v *view) string { return string(v.source) },
	"service":        func(v *view) string { return v.near.Owner.Service },
	"env":            func(v *view) string { return v.near.Owner.Env },
	"version":        func(v *view) string { return v.near.Owner.Version },
	"process":        func(v *view) string { return v.near.Owner.Process },
	"container_id":   func(v *view) string { return v.near.Owner.ContainerID },
	"pod_uid":        func(v *view) string { return v.near.Owner.PodUID },
	"remote":         (*view).remote,
	"remote_class":   func(v *view) string { return class(v.far.Addr) },
	"remote_service": func(v *view) string { return v.far.Owner.Service },
	"client_service": func(v *view) string { return v.client.Owner.Service },
	"server_service": func(v *view) string { return v.server.Owner.Service },
	"server_domain":  func(v *view) string { return v.serverDomain },
	"dns_query":      func(v *view) string { return v.query },
	"dns_qtype":      func(v *view) string { return v.queryType },
}

// addrs are the tags that are an address.
var addrs = map[string]func(*view) netip.Addr{
	"remote":    func(v *view) netip.Addr { return v.far.Addr }, // where it has no text
	"remote_ip": func(v *view) netip.Addr { return v.far.Addr },
	"client_ip": func(v *view) netip.Addr { return v.client.Addr },
	"server_ip": func(v *view) netip.Addr { return v.server.Addr },
}

// numbers are the tags that are a number.
var numbers = map[string]func(*view) uint32{
	"pid":         func(v *view) uint32 { return v.near.Owner.PID },
	"server_port": func(v *view) uint32 { return uint32(v.server.Port) },
}

func newTag(name string) (tag, error) {
	if !metric.KnownFlowTag(name) {
		return tag{}, fmt.Errorf("unknown flow tag %q", name)
	}
	if key, ok := strings.CutPrefix(name, metric.ProcessTagPrefix); ok {
		return tag{key: key, text: func(v *view) string { return processTag(v.near.Owner.Tags, key) }}, nil
	}
	if name == metric.NetworksTag {
		return tag{key: name, appendAll: appendNetworkTags}, nil
	}
	t := tag{key: name, text: texts[name], addr: addrs[name], number: numbers[name]}
	if t.text == nil && t.addr == nil && t.number == nil {
		return tag{}, fmt.Errorf("flow tag %q has no meaning", name)
	}
	return t, nil
}

// appendKey appends the tags of a view with commas between.
func appendKey(b []byte, tags []tag, v *view) []byte {
	for i := range tags {
		t := &tags[i]
		if t.appendAll != nil {
			b = t.appendAll(b, v)
			continue
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = t.append(b, v)
	}
	return b
}

func (t *tag) append(b []byte, v *view) []byte {
	text := ""
	if t.text != nil {
		text = t.text(v)
	}
	switch {
	case text == "" && t.addr != nil:
		return appendAddr(b, t.key, t.addr(v))
	case t.number != nil && t.number(v) > 0:
		b = append(append(b, t.key...), ':')
		return strconv.AppendUint(b, uint64(t.number(v)), 10)
	}
	return metric.AppendTag(b, t.key, text)
}

// appendAddr does without the string that AppendTag would need.
func appendAddr(b []byte, key string, addr netip.Addr) []byte {
	if !addr.IsValid() {
		return metric.AppendTag(b, key, "")
	}
	b = append(append(b, key...), ':')
	b = addr.WithZone("").AppendTo(b)
	for b[len(b)-1] == ':' { // no tag ends so; 2001:db8:: is told from 2001:db8::1 all the same
		b = b[:len(b)-1]
	}
	return b
}

func appendNetworkTags(b []byte, v *view) []byte {
	for _, t := range v.networkTags {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, t...)
	}
	return b
}

// shared is the range of carriers' networks (RFC 6598), which is no more public than the private ones.
var shared = netip.MustParsePrefix("100.64.0.0/10")

func class(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return ""
	case a.IsLoopback(), a.IsUnspecified():
		return "loopback"
	case a.IsMulticast():
		return "multicast"
	case a.IsLinkLocalUnicast():
		return "link_local"
	case a.IsPrivate(), shared.Contains(a):
		return "private"
	}
	return "public"
}

// processTag returns the first value that a process's DD_TAGS have for a key.
func processTag(tags []string, key string) string {
	for _, t := range tags {
		if k, value, ok := strings.Cut(t, ":"); ok && strings.EqualFold(k, key) {
			return value
		}
	}
	return ""
}
