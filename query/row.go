package query

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"socktally/record"
)

// Row is the view that fields have of a record of either kind. It points into the last record that was set.
type Row struct {
	host                                          string
	ends                                          [Server + 1]*record.Endpoint // by side; NoSide has none
	here                                          [Server + 1]bool             // whether that end is on the host
	protocol, direction, domain, dnsName, dnsType string
}

// NewRow returns a row for records that were made on host. A record must be set before the row is used.
func NewRow(host string) *Row { return &Row{host: host} }

// SetFlow sets the row to a flow record.
func (r *Row) SetFlow(f *record.Flow) {
	r.setEnds(&f.Client, &f.Server, f.Direction)
	r.protocol, r.direction, r.domain = f.Protocol, string(f.Direction), f.ServerDomain
}

// SetDNS sets the row to a DNS record.
func (r *Row) SetDNS(d *record.DNS) {
	r.setEnds(&d.Client, &d.Server, d.Direction)
	r.protocol, r.dnsName, r.dnsType = d.Protocol, d.Name, d.Type
}

func (r *Row) setEnds(client, server *record.Endpoint, direction record.Direction) {
	r.ends[Client], r.ends[Server] = client, server
	r.here[Client], r.here[Server] = direction.ClientIsHere(), direction.ServerIsHere()
}

// textOf returns the function that reads a field of type Text.
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

// addressOf returns the function that reads a field of type Address.
func (f *Field) addressOf() func(*Row) netip.Addr {
	side := f.Side
	return func(r *Row) netip.Addr { return r.ends[side].Addr }
}

// numberOf returns the function that reads a field of type Number.
func (f *Field) numberOf() func(*Row) uint64 {
	side := f.Side
	if f.Key == "port" {
		return func(r *Row) uint64 { return uint64(r.ends[side].Port) }
	}
	return func(r *Row) uint64 { return uint64(r.ends[side].Owner.PID) }
}

// tagsOf returns the function that reads all tags of the field's end, also those with other keys.
func (f *Field) tagsOf() func(*Row) []string {
	side := f.Side
	return func(r *Row) []string { return r.ends[side].Owner.Tags }
}

// tagValue returns the value of a tag "key:value". It returns "" if the tag has another key.
func tagValue(tag, key string) string {
	if len(tag) > len(key) && tag[len(key)] == ':' && strings.EqualFold(tag[:len(key)], key) {
		return tag[len(key)+1:]
	}
	return ""
}

// endOfValue is the byte after each value. After the last value of a field it comes twice. It is never in a value.
const endOfValue = 0

// Appender appends all values of one field of a row to b, or Unresolved if there is none. The results for several fields
// can be appended one after the other: two such results are equal only if each field has the same values. SplitValues
// separates them again. Appender allocates nothing if b has room.
type Appender func(b []byte, r *Row) []byte

// Appender returns the Appender of the field.
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

// appendTags appends the values of all tags with a key. It sorts them, so that the same tags in another order belong to
// the same group.
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

// appendText appends text with endOfValue replaced. Only a name in DNS could have such a byte.
func appendText(b []byte, text string) []byte {
	if strings.IndexByte(text, endOfValue) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "?")
	}
	return append(b, text...)
}

// SplitValues separates what the Appenders of n fields have appended. It returns the values of each field, as valid
// UTF-8.
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
