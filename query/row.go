package query

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"socktally/record"
)

// Row is a record of either kind, as fields see it. It points into the record that it was last set to.
type Row struct {
	host                                          string
	ends                                          [Server + 1]*record.Endpoint // by side, but for NoSide
	here                                          [Server + 1]bool             // whether that end is on the host
	protocol, direction, domain, dnsName, dnsType string
}

// NewRow returns a row for records that were made on host. It has to be set before it is looked at.
func NewRow(host string) *Row { return &Row{host: host} }

// SetFlow makes the row one of what a flow did, until the next record is set.
func (r *Row) SetFlow(f *record.Flow) {
	r.setEnds(&f.Client, &f.Server, f.Direction)
	r.protocol, r.direction, r.domain = f.Protocol, string(f.Direction), f.ServerDomain
}

// SetDNS makes the row one of what became of DNS queries, until the next record is set.
func (r *Row) SetDNS(d *record.DNS) {
	r.setEnds(&d.Client, &d.Server, d.Direction)
	r.protocol, r.dnsName, r.dnsType = d.Protocol, d.Name, d.Type
}

func (r *Row) setEnds(client, server *record.Endpoint, direction record.Direction) {
	r.ends[Client], r.ends[Server] = client, server
	r.here[Client], r.here[Server] = direction.ClientIsHere(), direction.ServerIsHere()
}

// textOf returns what reads a field of Text.
func (f *Field) textOf() func(*Row) string {
	if f.Side == NoSide {
		switch f.Key {
		case "protocol":
			return func(r *Row) string { return r.protocol }
		case "direction":
			return func(r *Row) string { return r.direction }
		case "server_domain":
			return func(r *Row) string { return r.domain }
		case "dns_query":
			return func(r *Row) string { return r.dnsName }
		}
		return func(r *Row) string { return r.dnsType }
	}
	side := f.Side
	switch f.Key {
	case "service":
		return func(r *Row) string { return r.ends[side].Owner.Service }
	case "env":
		return func(r *Row) string { return r.ends[side].Owner.Env }
	case "version":
		return func(r *Row) string { return r.ends[side].Owner.Version }
	case "process":
		return func(r *Row) string { return r.ends[side].Owner.Process }
	case "container_id":
		return func(r *Row) string { return r.ends[side].Owner.ContainerID }
	case "pod_uid":
		return func(r *Row) string { return r.ends[side].Owner.PodUID }
	}
	return func(r *Row) string { // the host
		if r.here[side] {
			return r.host
		}
		return ""
	}
}

// addressOf returns what reads a field of Address.
func (f *Field) addressOf() func(*Row) netip.Addr {
	side := f.Side
	return func(r *Row) netip.Addr { return r.ends[side].Addr }
}

// numberOf returns what reads a field of Number.
func (f *Field) numberOf() func(*Row) uint64 {
	side := f.Side
	if f.Key == "port" {
		return func(r *Row) uint64 { return uint64(r.ends[side].Port) }
	}
	return func(r *Row) uint64 { return uint64(r.ends[side].Owner.PID) }
}

// tagsOf returns what reads the tags of which some may be the field's.
func (f *Field) tagsOf() func(*Row) []string {
	side := f.Side
	return func(r *Row) []string { return r.ends[side].Owner.Tags }
}

// tagValue returns the value of a tag "key:value", "" if its key is another.
func tagValue(tag, key string) string {
	if len(tag) > len(key) && tag[len(key)] == ':' && strings.EqualFold(tag[:len(key)], key) {
		return tag[len(key)+1:]
	}
	return ""
}

// endOfValue marks the end of a value and, once more, of a field. No value holds it.
const endOfValue = 0

// Appender appends every value of one field of a row, or Unresolved, to b, so that fields that were appended
// one after the other are equal only where each has the same values. SplitValues takes them apart. It allocates
// nothing where b has room.
type Appender func(b []byte, r *Row) []byte

// Appender returns what appends the field's values.
func (f *Field) Appender() Appender {
	switch f.Type {
	case Address:
		address := f.addressOf()
		return func(b []byte, r *Row) []byte {
			addr := address(r)
			if !addr.IsValid() {
				return appendUnresolved(b)
			}
			return append(addr.AppendTo(b), endOfValue, endOfValue)
		}
	case Number:
		number := f.numberOf()
		return func(b []byte, r *Row) []byte {
			n := number(r)
			if n == 0 {
				return appendUnresolved(b)
			}
			return append(strconv.AppendUint(b, n, 10), endOfValue, endOfValue)
		}
	case Tag:
		tags, key := f.tagsOf(), f.Key
		return func(b []byte, r *Row) []byte { return appendTags(b, tags(r), key) }
	}
	text := f.textOf()
	return func(b []byte, r *Row) []byte {
		value := text(r)
		if value == "" {
			return appendUnresolved(b)
		}
		return append(appendText(b, value), endOfValue, endOfValue)
	}
}

func appendUnresolved(b []byte) []byte {
	return append(append(b, Unresolved...), endOfValue, endOfValue)
}

// appendTags appends the values of a key in order, so that their order makes no groups of its own.
func appendTags(b []byte, tags []string, key string) []byte {
	var room [8]string
	found := room[:0]
	for _, tag := range tags {
		if value := tagValue(tag, key); value != "" {
			found = append(found, value)
		}
	}
	switch {
	case len(found) == 0:
		return appendUnresolved(b)
	case len(found) > 1:
		slices.Sort(found)
		found = slices.Compact(found)
	}
	for _, value := range found {
		b = append(appendText(b, value), endOfValue)
	}
	return append(b, endOfValue)
}

// appendText appends text without what ends a value, which only a name in DNS could hold.
func appendText(b []byte, text string) []byte {
	if strings.IndexByte(text, endOfValue) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "?")
	}
	return append(b, text...)
}

// SplitValues takes apart what the appenders of n fields have appended, into the values of each, which are
// valid UTF-8.
func SplitValues(appended string, n int) [][]string {
	all := make([][]string, n)
	for i := range all {
		for {
			var value string
			value, appended, _ = strings.Cut(appended, "\x00")
			if value == "" {
				break
			}
			all[i] = append(all[i], strings.ToValidUTF8(value, "\uFFFD"))
		}
	}
	return all
}
