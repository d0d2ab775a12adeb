package collector

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// sockstat reads /proc/self/net/sockstat. Every kernel has this file, with at least one protocol.
func sockstat(r *reading, path string) error {
	protocols, err := r.sockstatLines(path, "sockstat")
	if err == nil && protocols == 0 {
		return fmt.Errorf("read sockstat: %s holds no protocol", path)
	}
	return err
}

// sockstat6 reads /proc/self/net/sockstat6, the same file for IPv6.
func sockstat6(r *reading, path string) error {
	_, err := r.sockstatLines(path, "sockstat6")
	return err
}

// sockstatLines adds the samples of a file with lines such as "TCP: inuse 5 orphan 0". It returns how many lines are for
// a protocol. Each fault is one error. Because of a fault, only its field or its line is left out.
func (r *reading) sockstatLines(path, what string) (protocols int, err error) {
	text, err := r.contents(path)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", what, err)
	}
	var faults []error
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		name, rest, found := strings.Cut(line, ":")
		words := strings.Fields(rest)
		if !found || len(words) == 0 {
			faults = append(faults, fmt.Errorf("read %s: %s: line %q has no name with fields", what, path, line))
			continue
		}
		if name != "sockets" {
			protocols++
		}
		for i := 0; i < len(words); i += 2 {
			if err := r.sockstatField(strings.ToLower(name), words[i:min(i+2, len(words))]); err != nil {
				faults = append(faults, fmt.Errorf("read %s: %s: line %q: field %s: %w", what, path, line, words[i], err))
			}
		}
	}
	return protocols, errors.Join(faults...)
}

// sockstatField adds the sample of a field, if the field is sent.
func (r *reading) sockstatField(protocol string, field []string) error {
	if len(field) < 2 {
		return errors.New("no value")
	}
	value, err := strconv.Atoi(field[1])
	if err != nil {
		return err
	}
	key := protocol + "." + field[0]
	if _, twice := r.values[key]; twice {
		return errors.New("a second value")
	}
	r.values[key] = value
	switch field[0] {
	case "used", "inuse", "orphan", "tw", "alloc", "memory": // memory in bytes
		r.addIfKnown("sockstat."+key, float64(value))
	case "mem": // pages
		r.addIfKnown("sockstat."+key, float64(value)*r.pageKiB)
	}
	return nil
}
