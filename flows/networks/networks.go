// Package networks reads a user's table of networks and finds the one that an address is in.
//
// Each line of the table has a CIDR and tags; # begins a comment. Of several networks that contain an address, only the
// one with the longest prefix counts:
//
//	10.0.0.0/8     dc:north
//	10.1.2.0/24    dc:north name:db-replicas team:storage   # 10.1.2.0 to 10.1.2.255
//	2001:db8::/32  name:office
package networks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"socktally/metric"
)

const accepted = "want a CIDR and tags such as 10.1.0.0/16 name:db team:storage, each tag of letters, digits and _-:./"

const (
	// maxLine bounds a line in bytes.
	maxLine = 64 << 10
	// maxFaults is how many faults of one file are reported.
	maxFaults = 20
	// maxSize is more than a table of all networks of the Internet needs.
	maxSize = 64 << 20
)

// nameKey is the key of the tag with the name of a network.
const nameKey = "name"

// network is the name and the tags of one prefix.
type network struct {
	name string
	tags []string
}

// Table is a table of networks. A nil Table is empty. It never changes and is safe for concurrent use.
type Table struct{ prefixes bart.Table[*network] }

// Load reads a table from a file. The error joins one error for each fault, which begins with the number of the line.
func Load(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(io.LimitReader(f, maxSize))
}

// Parse reads a table. The error joins one error for each fault, which begins with the number of the line.
func Parse(r io.Reader) (*Table, error) {
	t := &Table{}
	lines := map[netip.Prefix]int{}
	var faults []error
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	n := 0
	for s.Scan() {
		n++
		text, _, _ := bytes.Cut(s.Bytes(), []byte("#"))
		fields := strings.Fields(string(text))
		if len(fields) == 0 {
			continue
		}
		prefix, found, err := parseLine(fields)
		switch before := lines[prefix]; {
		case err != nil:
			err = fmt.Errorf("line %d: %w: %s", n, err, accepted)
		case before > 0:
			err = fmt.Errorf("line %d: %v stands in line %d already", n, prefix, before)
		default:
			lines[prefix] = n
			t.prefixes.Insert(prefix, found)
			continue
		}
		if faults = append(faults, err); len(faults) == maxFaults {
			return nil, errors.Join(append(faults, errors.New("and perhaps more"))...)
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		faults = append(faults, fmt.Errorf("line %d: longer than %d bytes", n+1, maxLine))
	} else if err != nil {
		faults = append(faults, fmt.Errorf("line %d: %w", n+1, err))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return t, nil
}

func parseLine(fields []string) (netip.Prefix, *network, error) {
	prefix, err := parsePrefix(fields[0])
	if err != nil {
		return netip.Prefix{}, nil, err
	}
	if len(fields) == 1 {
		return prefix, nil, errors.New("no tags")
	}
	n := &network{}
	var keys []string
	for _, tag := range fields[1:] {
		key, value, _ := strings.Cut(tag, ":")
		key = strings.ToLower(key)
		err := metric.CheckTag(tag)
		switch {
		case err != nil:
			return prefix, nil, fmt.Errorf("tag %q %w", tag, err)
		case value == "":
			return prefix, nil, fmt.Errorf("tag %q has no value", tag)
		case metric.ReservedTag(key):
			return prefix, nil, fmt.Errorf("tag %q is one that socktally sets", tag)
		case slices.Contains(keys, key):
			return prefix, nil, fmt.Errorf("tag %q comes twice", key)
		}
		keys = append(keys, key)
		clean := string(metric.AppendTag(nil, key, value))
		if key == nameKey {
			n.name = strings.TrimPrefix(clean, nameKey+":")
		} else {
			n.tags = append(n.tags, clean)
		}
	}
	return prefix, n, nil
}

// parsePrefix parses a CIDR. It rejects what is most likely a mistake: an address without a prefix length, bits after the
// prefix, and an IPv4-mapped IPv6 network, which would match nothing because Lookup unmaps addresses.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			return prefix, fmt.Errorf("address %q has no length, for itself alone write %v/%d", text, addr, addr.BitLen())
		}
		return prefix, fmt.Errorf("%q is not a CIDR", text)
	}
	switch masked := prefix.Masked(); {
	case prefix.Addr().Is4In6():
		return prefix, fmt.Errorf("%q is IPv4 written as IPv6", text)
	case masked != prefix:
		return prefix, fmt.Errorf("%q has bits behind its length, is %v meant", text, masked)
	}
	return prefix, nil
}

// Lookup finds the network with the longest prefix that contains addr. It returns the value of its tag "name", "" if
// there is none, and its other tags, in lower case, each key once. The caller must not change the tags.
func (t *Table) Lookup(addr netip.Addr) (name string, tags []string) {
	if t == nil {
		return "", nil
	}
	n, found := t.prefixes.Lookup(addr.Unmap())
	if !found {
		return "", nil
	}
	return n.name, n.tags
}

// Len is the number of networks.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.prefixes.Size()
}
