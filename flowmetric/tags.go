package flowmetric

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"socktally/flows"
	"socktally/metric"
)

// view is a record as the end on this host sees it. Where both ends are here, that is the client's.
type view struct {
	record    *flows.Record
	near, far *flows.Endpoint
	// Of the far end's network.
	networkName string
	networkTags []string
}

func (s *Splitter) view(r *flows.Record) view {
	v := view{record: r, near: &r.Client, far: &r.Server}
	if r.Direction == flows.Incoming {
		v.near, v.far = v.far, v.near
	}
	v.networkName, v.networkTags = s.network(v.far.Addr)
	return v
}

// tag is how one member of SOCKTALLY_FLOW_TAGS is made of a view.
type tag struct {
	key string
	// text is a value that anybody may have written, "" if it is not known.
	text func(*Splitter, *view) string
	// addr is a value that is an address, for where there is no text.
	addr func(*view) netip.Addr
	// number is a value that is one, 0 if it is not known.
	number func(*view) uint32
	// appendAll appends any number of whole tags, each after a comma.
	appendAll func([]byte, *view) []byte
}

// texts are the tags that are made of a string.
var texts = map[string]func(*Splitter, *view) string{
	"direction":      func(_ *Splitter, v *view) string { return string(v.record.Direction) },
	"protocol":       func(_ *Splitter, v *view) string { return v.record.Protocol },
	"family":         func(_ *Splitter, v *view) string { return v.record.Family },
	"source":         func(_ *Splitter, v *view) string { return string(v.record.Source) },
	"service":        func(_ *Splitter, v *view) string { return v.near.Owner.Service },
	"env":            func(_ *Splitter, v *view) string { return v.near.Owner.Env },
	"version":        func(_ *Splitter, v *view) string { return v.near.Owner.Version },
	"process":        func(_ *Splitter, v *view) string { return v.near.Owner.Process },
	"container_id":   func(_ *Splitter, v *view) string { return v.near.Owner.ContainerID },
	"remote_class":   func(_ *Splitter, v *view) string { return class(v.far.Addr) },
	"remote_service": func(_ *Splitter, v *view) string { return v.far.Owner.Service },
	"client_service": func(_ *Splitter, v *view) string { return v.record.Client.Owner.Service },
	"server_service": func(_ *Splitter, v *view) string { return v.record.Server.Owner.Service },
	"remote":         (*Splitter).remote,
}

// addrs are the tags that are an address.
var addrs = map[string]func(*view) netip.Addr{
	"remote":    func(v *view) netip.Addr { return v.far.Addr }, // where it has no text
	"remote_ip": func(v *view) netip.Addr { return v.far.Addr },
	"client_ip": func(v *view) netip.Addr { return v.record.Client.Addr },
	"server_ip": func(v *view) netip.Addr { return v.record.Server.Addr },
}

// numbers are the tags that are a number.
var numbers = map[string]func(*view) uint32{
	"pid":         func(v *view) uint32 { return v.near.Owner.PID },
	"server_port": func(v *view) uint32 { return uint32(v.record.Server.Port) },
}

func newTag(name string) (tag, error) {
	if !metric.KnownFlowTag(name) {
		return tag{}, fmt.Errorf("unknown flow tag %q", name)
	}
	if key, ok := strings.CutPrefix(name, metric.ProcessTagPrefix); ok {
		return tag{key: key, text: func(_ *Splitter, v *view) string { return processTag(v.near.Owner.Tags, key) }}, nil
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

// appendKey appends the tags of a flow with commas between.
func (s *Splitter) appendKey(b []byte, v *view) []byte {
	for i := range s.tags {
		t := &s.tags[i]
		if t.appendAll != nil {
			b = t.appendAll(b, v)
			continue
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = t.append(b, s, v)
	}
	return b
}

func (t *tag) append(b []byte, s *Splitter, v *view) []byte {
	text := ""
	if t.text != nil {
		text = t.text(s, v)
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

// remote names the far end, or returns "" if it has no name.
func (s *Splitter) remote(v *view) string {
	if v.networkName != "" || s.names == nil {
		return v.networkName
	}
	return s.names.Name(v.far.Addr)
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
