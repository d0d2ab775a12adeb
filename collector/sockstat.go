package collector

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// allSockets is the name of the line that is of no protocol.
const allSockets = "sockets"

// sockstat is what a file of this name says, line by line.
type sockstat []protocol

// protocol is one line: a name and the numbers of its fields.
type protocol struct {
	name   string // as the kernel writes it, such as TCP6, or allSockets
	fields []field
}

type field struct {
	name  string
	value int
}

func readSockstat(path string) (sockstat, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	all, err := parseSockstat(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// parseSockstat reads lines such as "TCP: inuse 40 orphan 8". One that is not of this form is an error.
func parseSockstat(text string) (sockstat, error) {
	var all sockstat
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 || len(words)%2 == 0 {
			return nil, fmt.Errorf("malformed line %q: want a name and pairs of a field and its number", strings.TrimSuffix(line, "\n"))
		}
		p := protocol{name: strings.TrimSuffix(words[0], ":"), fields: make([]field, 0, len(words)/2)}
		for i := 1; i < len(words); i += 2 {
			value, err := strconv.Atoi(words[i+1])
			if err != nil {
				return nil, fmt.Errorf("malformed line %q: %w", strings.TrimSuffix(line, "\n"), err)
			}
			p.fields = append(p.fields, field{words[i], value})
		}
		all = append(all, p)
	}
	return all, nil
}

func (s sockstat) hasProtocol() bool {
	return slices.ContainsFunc(s, func(p protocol) bool { return p.name != allSockets })
}

// value returns a field of a line. Not every kernel has every one.
func (s sockstat) value(protocol, field string) (int, bool) {
	for _, p := range s {
		if p.name != protocol {
			continue
		}
		for _, f := range p.fields {
			if f.name == field {
				return f.value, true
			}
		}
	}
	return 0, false
}
