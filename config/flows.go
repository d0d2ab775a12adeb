package config

import (
	"errors"
	"slices"
	"strings"

	"socktally/metric"
	"socktally/networks"
)

// flowTags returns the tags of the list, or none and one fault.
func (c *checker) flowTags(list string) []string {
	const name = "SOCKTALLY_FLOW_TAGS"
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

func flowTagNames() []string {
	var names []string
	for _, t := range metric.FlowTags() {
		names = append(names, t.Name)
	}
	return names
}

// networks reports every fault of the file on a line of its own.
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
