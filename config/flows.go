package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"socktally/flows/networks"
	"socktally/metric"
)

func (c *checker) flows() Flows {
	f := Flows{
		Mode:            c.oneOf("SOCKTALLY_FLOWS", "auto", "ebpf", "sockdiag", "off"),
		Max:             c.number("SOCKTALLY_FLOWS_MAX", 1, 1<<24),
		UDP:             c.oneOf("SOCKTALLY_FLOWS_UDP", "on", "off") == "on",
		DNSPorts:        c.dnsPorts(),
		Schedule:        c.schedule("SOCKTALLY_FLOWS_SCHEDULE"),
		Tags:            c.flowTags(),
		MaxCombinations: c.number("SOCKTALLY_FLOW_MAX_CONTEXTS", 1, 1<<20),
		NetworksFile:    c.value("SOCKTALLY_NETWORKS_FILE"),
	}
	if f.On() {
		c.networks(f.NetworksFile)
	}
	return f
}

// flowTags returns the tags in the list. If one is wrong, it returns none and adds a fault.
func (c *checker) flowTags() []string {
	const name = "SOCKTALLY_FLOW_TAGS"
	list := c.value(name)
	var tags []string
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		switch {
		case !metric.KnownFlowTag(tag):
			c.fault(name, list, "unknown tag %q: want a comma list of %s, or %skey for what DD_TAGS of a process say under that key",
				tag, strings.Join(flowTagNames(), ", "), metric.ProcessTagPrefix)
			return nil
		case slices.Contains(tags, tag):
			c.fault(name, list, "tag %s is named twice", tag)
			return nil
		}
		tags = append(tags, tag)
	}
	return tags
}

// dnsPorts returns the ports in the list. If one is wrong, it returns none and adds a fault. The slice is never nil.
func (c *checker) dnsPorts() []uint16 {
	list := c.value("SOCKTALLY_DNS_PORTS")
	const most = 4 // the BPF programs have room for so many
	ports := []uint16{}
	if list == "none" {
		return ports
	}
	for text := range strings.SplitSeq(list, ",") {
		port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
		if err != nil || port == 0 || len(ports) == most || slices.Contains(ports, uint16(port)) {
			c.fault("SOCKTALLY_DNS_PORTS", list, "want none, or at most %d different ports from 1 to 65535, such as 53,5353", most)
			return []uint16{}
		}
		ports = append(ports, uint16(port))
	}
	return ports
}

func flowTagNames() []string {
	var names []string
	for _, t := range metric.FlowTags() {
		names = append(names, t.Name)
	}
	return names
}

// networks checks the file and adds one fault for each fault in it.
func (c *checker) networks(path string) {
	if path == "" {
		return
	}
	_, err := networks.Load(path)
	var several interface{ Unwrap() []error }
	switch {
	case err == nil:
	case errors.As(err, &several):
		for _, fault := range several.Unwrap() {
			c.fault("SOCKTALLY_NETWORKS_FILE", path, "%w", fault)
		}
	default:
		c.fault("SOCKTALLY_NETWORKS_FILE", path, "%w", err)
	}
}
