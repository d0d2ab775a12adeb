// Package networks reads a user's table of networks and finds the one that an address is in.
//
// A table is lines of a CIDR and tags; # begins a comment. The longest prefix that holds an address
// wins, and takes over nothing from a shorter one:
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
	// maxFaults bounds how many faults are told of one file.
	maxFaults = 20
	// maxSize is well above what a table of every network that there is would take.
	maxSize = 64 << 20
)

// nameKey is the tag that a network is called by.
const nameKey = "name"

// network is what the table says of the addresses of one prefix.
type network struct {
	name string
	tags []string
}

// Table is a table of networks. A nil Table is empty. It is not changed once read, and safe for
// concurrent use.
type Table struct{ prefixes bart.Table[*network] }

// Load reads the table in a file. The error joins one for each fault; each begins with its line.
func Load(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(io.LimitReader(f, maxSize))
}

// Parse reads a table. The error joins one for each fault; each begins with its line.
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

// parsePrefix refuses what is most likely a slip: an address without a length, bits behind it, or an
// IPv4 network in IPv6 clothes, which no address that is looked up would be in.
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

// Lookup returns what the longest prefix that holds addr is called by its tag "name", "" for nothing,
// and its other tags, in lower case, each key once. The tags are not to be changed.
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
