package query

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Unresolved is the value of a field whose value is not known.
const Unresolved = "N/A"

// Ungrouped is a name for group_by. It is only for DNS and means: do not group by the server's side. It is not a field.
const Ungrouped = "server_ungrouped"

// Kind is a kind of record. Each kind has some names that the other one does not have.
type Kind uint8

const (
	Connections Kind = iota
	DNS
)

// Side is the end of a record to which a field belongs.
type Side uint8

const (
	NoSide Side = iota // the field belongs to the whole record
	Client
	Server
)

// Type is the type of a field's values.
type Type uint8

const (
	Text    Type = iota // "" means no value
	Address             // an invalid address means no value
	Number              // 0 means no value
	Tag                 // the values of all tags of the end's owner with the field's Key
)

// Field is what a name stands for.
type Field struct {
	Name string // as it was asked for
	Side Side
	Type Type
	// Key is the name without its side. For an end it is one of service, env, version, process, container_id, pod_uid,
	// host (Text), ip (Address), port, pid (Number), or otherwise the key of a tag. For the whole record it is one of
	// protocol, direction, server_domain, dns_query, dns_qtype (Text).
	Key string
}

// typeOf returns the type of the field of an end with this key.
func typeOf(key string) Type {
	switch key {
	case "service", "env", "version", "process", "container_id", "pod_uid", "host":
		return Text
	case "ip":
		return Address
	case "port", "pid":
		return Number
	}
	return Tag
}

const maxName = 200

// couldBeName says whether s has the form of a name: a side, then the key of a tag.
func couldBeName(s string) bool {
	letter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	return s != "" && len(s) <= maxName && letter(rune(s[0])) && !strings.ContainsFunc(s, func(r rune) bool {
		return !letter(r) && (r < '0' || r > '9') && !strings.ContainsRune("_./-", r)
	})
}

const acceptedNames = "client_ or server_ with service, env, version, process, pid, container_id, pod_uid, host, ip, port or the key of a tag; " +
	"network.client.ip, network.server.ip, protocol"

func (k Kind) accepted() string {
	if k == DNS {
		return acceptedNames + ", network.dns_query, network.dns_qtype"
	}
	return acceptedNames + ", direction, server_domain"
}

// Field returns the field for a name. The error says which names there are.
func (k Kind) Field(name string) (Field, error) {
	f, ok := k.find(name)
	if !ok {
		return Field{}, fmt.Errorf("unknown name %q: want %s", name, k.accepted())
	}
	f.Name = name
	return f, nil
}

func (k Kind) find(name string) (Field, bool) {
	if !couldBeName(name) || name == Ungrouped {
		return Field{}, false
	}
	switch name {
	case "network.client.ip":
		return endField(Client, "ip"), true
	case "network.server.ip":
		return endField(Server, "ip"), true
	case "protocol":
		return Field{Key: name}, true
	case "direction", "server_domain":
		return Field{Key: name}, k == Connections
	case "network.dns_query", "network.dns_qtype":
		return Field{Key: strings.TrimPrefix(name, "network.")}, k == DNS
	}
	if key, ok := strings.CutPrefix(name, "client_"); ok {
		return endField(Client, key), key != ""
	}
	key, ok := strings.CutPrefix(name, "server_")
	return endField(Server, key), ok && key != ""
}

func endField(side Side, key string) Field { return Field{Side: side, Type: typeOf(key), Key: key} }

// match returns the term for a value of the field. If wild is true, * and ? in the value are wildcards.
func (f *Field) match(value string, wild bool) (Node, error) {
	if value == "" {
		return nil, fmt.Errorf("%s has no value: want %s:value, or %s:%s for what is not resolved", f.Name, f.Name, f.Name, Unresolved)
	}
	if wild && strings.ContainsAny(value, "*?") {
		return Like{f.Name, value}, nil
	}
	return Equal{f.Name, value}, f.check(value)
}

// check says whether the field can have the value.
func (f *Field) check(value string) error {
	var err error
	switch {
	case isUnresolved(value):
	case f.Type == Address:
		_, err = f.address(value)
	case f.Type == Number:
		_, err = f.number(value)
	}
	return err
}

func isUnresolved(value string) bool { return strings.EqualFold(value, Unresolved) }

func (f *Field) address(value string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return addr, fmt.Errorf("%s:%s is no address: want one such as 10.0.0.1 or 10.0.*, or CIDR(%s, 10.0.0.0/8)", f.Name, value, f.Name)
	}
	return addr, nil
}

func (f *Field) number(value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s:%s is no number: want one such as 443, or 80*", f.Name, value)
	}
	return n, nil
}

// within returns the term that matches an address in one of the networks.
func (f *Field) within(networks []string) (Node, error) {
	if err := f.checkAddress(); err != nil {
		return nil, err
	}
	if len(networks) == 0 {
		return nil, errors.New("CIDR without a network: want one or more such as 10.0.0.0/8")
	}
	found := Within{Name: f.Name}
	for _, text := range networks {
		network, err := netip.ParsePrefix(text)
		if err != nil || network.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is no network: want one such as 10.0.0.0/8 or 2001:db8::/32", text)
		}
		found.Networks = append(found.Networks, network.Masked())
	}
	return found, nil
}

// checkAddress fails if the field is not an address.
func (f *Field) checkAddress() error {
	if f.Type != Address {
		return fmt.Errorf("CIDR of %s: want network.client.ip or network.server.ip", f.Name)
	}
	return nil
}
