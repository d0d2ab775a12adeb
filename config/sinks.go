package config

import (
	"slices"
	"strings"
)

// sink is one kind of receiver, for the settings.
type sink struct {
	name string
	// settings reads the settings of the sink. It is called only if the sink is used.
	settings func(*checker, *Config)
}

// sinks returns the sinks for SOCKTALLY_FORWARD, in the order of the documentation. The table in forward/sinks has the same
// names, and says how each is opened and probed.
func sinks() []sink {
	return []sink{
		{"dogstatsd", func(c *checker, cfg *Config) { cfg.DogStatsD = c.dogStatsD() }},
		{"http", func(c *checker, cfg *Config) { cfg.HTTP = c.http() }},
		{"stdout", func(*checker, *Config) {}},
	}
}

// Sinks returns the names of all sinks.
func Sinks() []string {
	var names []string
	for _, s := range sinks() {
		names = append(names, s.name)
	}
	return names
}

// SinkList is a text for people: what SOCKTALLY_FORWARD may be.
func SinkList() string { return "comma list of " + strings.Join(Sinks(), ", ") }

// forward reads the list of sinks and the settings of each into cfg. If the list is wrong, it adds a fault and sets no sink.
func (c *checker) forward(cfg *Config) {
	const name = "SOCKTALLY_FORWARD"
	list, known := c.value(name), Sinks()
	var chosen []string
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		switch {
		case !slices.Contains(known, one):
			c.fault(name, list, "unknown sink %q: want a %s", one, SinkList())
			return
		case slices.Contains(chosen, one):
			c.fault(name, list, "sink %s is named twice", one)
			return
		}
		chosen = append(chosen, one)
	}
	cfg.Forward = chosen
	for _, s := range sinks() {
		if slices.Contains(chosen, s.name) {
			s.settings(c, cfg)
		}
	}
}
