package flowmetric

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"socktally/metric"
)

// onlyFlows are tags that only metrics of flows have, onlyDNS those that only metrics of DNS have.
var (
	onlyFlows = []string{"source", "server_domain"}
	onlyDNS   = []string{"dns_query", "dns_qtype"}
)

// tag is how one tag of SOCKTALLY_FLOW_TAGS is made from a record.
type tag struct {
	key string
	// text is the value as a string, "" if it is not known. It may have any characters.
	text func(*localRecord) string
	// addr is the value as an address. It is used if there is no text.
	addr func(*localRecord) netip.Addr
	// number is the value as a number, 0 if it is not known.
	number func(*localRecord) uint32
	// appendAll appends any number of tags, separated by commas.
	appendAll func([]byte, *localRecord) []byte
}

// texts are the tags whose value is a string.
var texts = map[string]func(*localRecord) string{
	"direction":      func(v *localRecord) string { return string(v.direction) },
	"protocol":       func(v *localRecord) string { return v.protocol },
	"family":         func(v *localRecord) string { return v.family },
	"source":         func(v *localRecord) string { return string(v.source) },
	"service":        func(v *localRecord) string { return v.local.Owner.Service },
	"env":            func(v *localRecord) string { return v.local.Owner.Env },
	"version":        func(v *localRecord) string { return v.local.Owner.Version },
	"process":        func(v *localRecord) string { return v.local.Owner.Process },
	"container_id":   func(v *localRecord) string { return v.local.Owner.ContainerID },
	"pod_uid":        func(v *localRecord) string { return v.local.Owner.PodUID },
	"remote":         (*localRecord).remoteName,
	"remote_class":   func(v *localRecord) string { return class(v.remote.Addr) },
	"remote_service": func(v *localRecord) string { return v.remote.Owner.Service },
	"client_service": func(v *localRecord) string { return v.client.Owner.Service },
	"server_service": func(v *localRecord) string { return v.server.Owner.Service },
	"server_domain":  func(v *localRecord) string { return v.serverDomain },
	"dns_query":      func(v *localRecord) string { return v.query },
	"dns_qtype":      func(v *localRecord) string { return v.queryType },
}

// addrs are the tags whose value is an address.
var addrs = map[string]func(*localRecord) netip.Addr{
	"remote":    func(v *localRecord) netip.Addr { return v.remote.Addr }, // if there is no text
	"remote_ip": func(v *localRecord) netip.Addr { return v.remote.Addr },
	"client_ip": func(v *localRecord) netip.Addr { return v.client.Addr },
	"server_ip": func(v *localRecord) netip.Addr { return v.server.Addr },
}

// numbers are the tags whose value is a number.
var numbers = map[string]func(*localRecord) uint32{
	"pid":         func(v *localRecord) uint32 { return v.local.Owner.PID },
	"server_port": func(v *localRecord) uint32 { return uint32(v.server.Port) },
}

func newTag(name string) (tag, error) {
	if !metric.KnownFlowTag(name) {
		return tag{}, fmt.Errorf("unknown flow tag %q", name)
	}
	if key, ok := strings.CutPrefix(name, metric.ProcessTagPrefix); ok {
		return tag{key: key, text: func(v *localRecord) string { return processTag(v.local.Owner.Tags, key) }}, nil
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

// appendKey appends the tags of a record, joined by commas.
func appendKey(b []byte, tags []tag, v *localRecord) []byte {
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

func (t *tag) append(b []byte, v *localRecord) []byte {
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

// appendAddr does the same as metric.AppendTag, without making a string.
func appendAddr(b []byte, key string, addr netip.Addr) []byte {
	if !addr.IsValid() {
		return metric.AppendTag(b, key, "")
	}
	b = append(append(b, key...), ':')
	b = addr.WithZone("").AppendTo(b)
	for b[len(b)-1] == ':' { // a tag must not end with a colon; the result is still unique for each address
		b = b[:len(b)-1]
	}
	return b
}

func appendNetworkTags(b []byte, v *localRecord) []byte {
	for _, t := range v.networkTags {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, t...)
	}
	return b
}

// sharedAddressSpace is for carrier-grade NAT (RFC 6598). Like the private networks, it is not public.
var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

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
	case a.IsPrivate(), sharedAddressSpace.Contains(a):
		return "private"
	}
	return "public"
}

// processTag returns the first value for a key in DD_TAGS of a process.
func processTag(tags []string, key string) string {
	for _, t := range tags {
		if k, value, ok := strings.Cut(t, ":"); ok && strings.EqualFold(k, key) {
			return value
		}
	}
	return ""
}
