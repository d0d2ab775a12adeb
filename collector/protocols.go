package collector

import (
	"fmt"
	"slices"
	"strings"
)

// protocols reads from /proc/self/net/protocols whether TCP is short of memory. It is one flag for the whole kernel.
func protocols(r *reading, path string) error {
	text, err := r.contents(path)
	if err != nil {
		return fmt.Errorf("read protocols: %w", err)
	}
	head, lines, _ := strings.Cut(string(text), "\n")
	column := slices.Index(strings.Fields(head), "press")
	for line := range strings.Lines(lines) {
		if !strings.HasPrefix(line, "TCP ") {
			continue
		}
		words := strings.Fields(line)
		if column < 0 || column >= len(words) {
			break
		}
		switch words[column] {
		case "yes":
			r.add("sockstat.tcp.pressure", 1)
		case "no":
			r.add("sockstat.tcp.pressure", 0)
		case "NI": // not implemented
		default:
			return fmt.Errorf("read protocols: %s: TCP's press is %q, want yes or no", path, words[column])
		}
		return nil
	}
	return fmt.Errorf("read protocols: %s has no press of TCP", path)
}
