package config

import (
	"slices"
	"strings"
)

// sink is what the settings have to do with one kind of receiver.
type sink struct {
	name string
	// settings reads what the sink needs beside its name. It is asked only where samples go to the sink.
	settings func(*checker, *Config)
}

// sinks are those that SOCKTALLY_FORWARD can name, in the order of the documentation. How each is opened and
// probed stands under the same name in forward/sinks.
func sinks() []sink {
	return []sink{
		{"dogstatsd", func(c *checker, cfg *Config) { cfg.DogStatsD = c.dogStatsD() }},
		{"http", func(c *checker, cfg *Config) { cfg.HTTP = c.http() }},
		{"stdout", func(*checker, *Config) {}},
	}
}

// Sinks returns the names of the sinks that there are.
func Sinks() []string {
	var names []string
	for _, s := range sinks() {
		names = append(names, s.name)
	}
	return names
}

// SinkList says for people what SOCKTALLY_FORWARD is.
func SinkList() string { return "comma list of " + strings.Join(Sinks(), ", ") }

// forward reads the list of sinks into cfg, with the settings of each. A list with a fault is one fault, and
// no sink.
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
