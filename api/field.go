package api

import (
	"fmt"
	"net/netip"
	"slices"
	"socktally/record"
	"strconv"
	"strings"
)

// unresolved is the value of a field of which nothing is known.
const unresolved = "N/A"

// ungrouped is the name that stands for no grouping by the server's side, of DNS alone.
const ungrouped = "server_ungrouped"

// view is what filters and groups see of a record of either kind.
type view struct {
	client, server           *record.Endpoint
	clientHere, serverHere   bool
	protocol, direction      string
	domain, dnsName, dnsType string
}

// endpointKind is one of the two endpoints, which know different names.
type endpointKind uint8

const (
	connections endpointKind = 1 << iota
	dnsQueries
)

// field is a name that records can be grouped and filtered by. Exactly one of its functions is set.
type field struct {
	name   string // as it was asked for
	text   func(*view) string
	addr   func(*view) netip.Addr
	number func(*view) uint64
	owner  func(*view) *record.Owner // whose tags have tagKey
	tagKey string
}

func clientOf(v *view) *record.Endpoint { return v.client }
func serverOf(v *view) *record.Endpoint { return v.server }

// endField returns what a name says of one end, after its client_ or server_.
func endField(end func(*view) *record.Endpoint, here func(*view) string, name string) field {
	text := func(of func(*record.Owner) string) field {
		return field{text: func(v *view) string { return of(&end(v).Owner) }}
	}
	switch name {
	case "service":
		return text(func(o *record.Owner) string { return o.Service })
	case "env":
		return text(func(o *record.Owner) string { return o.Env })
	case "version":
		return text(func(o *record.Owner) string { return o.Version })
	case "process":
		return text(func(o *record.Owner) string { return o.Process })
	case "container_id":
		return text(func(o *record.Owner) string { return o.ContainerID })
	case "pod_uid":
		return text(func(o *record.Owner) string { return o.PodUID })
	case "host":
		return field{text: here}
	case "ip":
		return field{addr: func(v *view) netip.Addr { return end(v).Addr }}
	case "port":
		return field{number: func(v *view) uint64 { return uint64(end(v).Port) }}
	case "pid":
		return field{number: func(v *view) uint64 { return uint64(end(v).Owner.PID) }}
	}
	return field{owner: func(v *view) *record.Owner { return &end(v).Owner }, tagKey: name}
}

const maxName = 200

// couldBeName says whether s looks like a name: the key of a tag, with its side before it.
func couldBeName(s string) bool {
	letter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	return s != "" && len(s) <= maxName && letter(rune(s[0])) && !strings.ContainsFunc(s, func(r rune) bool {
		return !letter(r) && (r < '0' || r > '9') && !strings.ContainsRune("_./-", r)
	})
}

const acceptedNames = "client_ or server_ with service, env, version, process, pid, container_id, pod_uid, host, ip, port or the key of a tag; " +
	"network.client.ip, network.server.ip, protocol"

// fields resolves names for records that were made on host.
type fields struct {
	host string
	kind endpointKind
}

func (f fields) accepted() string {
	if f.kind == dnsQueries {
		return acceptedNames + ", network.dns_query, network.dns_qtype"
	}
	return acceptedNames + ", direction, server_domain"
}

// named resolves a name. The error says what names there are.
func (f fields) named(name string) (field, error) {
	found, ok := f.find(name)
	if !ok {
		return field{}, fmt.Errorf("unknown name %q: want %s", name, f.accepted())
	}
	found.name = name
	return found, nil
}

func (f fields) find(name string) (field, bool) {
	if !couldBeName(name) || name == ungrouped {
		return field{}, false
	}
	hostIf := func(here func(*view) bool) func(*view) string {
		return func(v *view) string {
			if here(v) {
				return f.host
			}
			return ""
		}
	}
	client := func(name string) field {
		return endField(clientOf, hostIf(func(v *view) bool { return v.clientHere }), name)
	}
	server := func(name string) field {
		return endField(serverOf, hostIf(func(v *view) bool { return v.serverHere }), name)
	}
	switch name {
	case "network.client.ip":
		return client("ip"), true
	case "network.server.ip":
		return server("ip"), true
	case "protocol":
		return field{text: func(v *view) string { return v.protocol }}, true
	case "direction":
		return field{text: func(v *view) string { return v.direction }}, f.kind == connections
	case "server_domain":
		return field{text: func(v *view) string { return v.domain }}, f.kind == connections
	case "network.dns_query":
		return field{text: func(v *view) string { return v.dnsName }}, f.kind == dnsQueries
	case "network.dns_qtype":
		return field{text: func(v *view) string { return v.dnsType }}, f.kind == dnsQueries
	}
	if rest, ok := strings.CutPrefix(name, "client_"); ok {
		return client(rest), rest != ""
	}
	rest, ok := strings.CutPrefix(name, "server_")
	return server(rest), ok && rest != ""
}

// ofServer says whether a name groups by the server's side, to which DNS counts what was asked for.
func ofServer(name string) bool {
	return strings.HasPrefix(name, "server_") || name == "network.server.ip" || strings.HasPrefix(name, "network.dns_")
}

// end marks the end of a value and, once more, of a field. No value holds it.
const end = 0

// appendValues appends every value of the field, each ended, and then the field's own end.
func (f *field) appendValues(b []byte, v *view) []byte {
	start := len(b)
	switch {
	case f.text != nil:
		if text := f.text(v); text != "" {
			b = append(appendText(b, text), end)
		}
	case f.addr != nil:
		if addr := f.addr(v); addr.IsValid() {
			b = append(addr.AppendTo(b), end)
		}
	case f.number != nil:
		if n := f.number(v); n != 0 {
			b = append(strconv.AppendUint(b, n, 10), end)
		}
	default:
		// Several values of one key stand in order, so that their order makes no groups of its own.
		var room [8]string
		found := room[:0]
		for _, tag := range f.owner(v).Tags {
			if value := tagValue(tag, f.tagKey); value != "" {
				found = append(found, value)
			}
		}
		if len(found) > 1 {
			slices.Sort(found)
			found = slices.Compact(found)
		}
		for _, value := range found {
			b = append(appendText(b, value), end)
		}
	}
	if len(b) == start {
		b = append(append(b, unresolved...), end)
	}
	return append(b, end)
}

// appendText appends text without what ends a value, which only a name in DNS could hold.
func appendText(b []byte, text string) []byte {
	if strings.IndexByte(text, end) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "?")
	}
	return append(b, text...)
}

// tagValue returns the value of a tag "key:value", "" if its key is another.
func tagValue(tag, key string) string {
	if len(tag) > len(key) && tag[len(key)] == ':' && strings.EqualFold(tag[:len(key)], key) {
		return tag[len(key)+1:]
	}
	return ""
}

// groupValues takes apart what appendValues appended for n fields.
func groupValues(key string, n int) [][]string {
	all := make([][]string, n)
	for i := range all {
		for {
			var value string
			value, key, _ = strings.Cut(key, "\x00")
			if value == "" {
				break
			}
			all[i] = append(all[i], strings.ToValidUTF8(value, "\uFFFD"))
		}
	}
	return all
}
