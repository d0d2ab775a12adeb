package config

import (
	"maps"
	"slices"
	"strings"
)

// Variable documents one environment variable. A variable with an empty value counts as not set, because container tools
// pass on variables that their user has not set.
type Variable struct {
	Name, Default, Description string
}

// Variables returns every environment variable that socktally reads, in the order of the
// documentation.
func Variables() []Variable {
	return []Variable{
		{"SOCKTALLY_FORWARD", "dogstatsd", "where samples go: a " + SinkList()},
		{"SOCKTALLY_SCHEDULE", "@every 15s", "cron spec of the readings: 5 fields, or 6 with seconds first, or @every 15s; CRON_TZ=zone may precede it"},
		{"SOCKTALLY_SCOPE", "host", "host: all fields; netns: only those of the own network namespace, for a sidecar"},
		{"SOCKTALLY_FLOWS", "auto", "how flows are counted: ebpf, sockdiag, auto for the first of them that this host allows, or off"},
		{"SOCKTALLY_FLOWS_MAX", "16384", "flows of one interval that are told apart; what goes beyond is summed in one record"},
		{"SOCKTALLY_FLOWS_UDP", "on", "on counts UDP and DNS too, which has a program look at each packet; off leaves them out"},
		{"SOCKTALLY_DNS_PORTS", "53", "ports of DNS servers, a comma list of four at most, or none"},
		{"SOCKTALLY_FLOWS_SCHEDULE", "@every 30s", "cron spec of the tallies of flows, as SOCKTALLY_SCHEDULE"},
		{"SOCKTALLY_FLOW_TAGS", "direction,protocol,service,remote,server_port", "what the metrics of flows are split by, a comma list; see docs/flow-metrics.md"},
		{"SOCKTALLY_FLOW_MAX_CONTEXTS", "500", "combinations of those tags that one tally sends at most; the smaller ones go to one that is tagged other"},
		{"SOCKTALLY_NETWORKS_FILE", "", "file of CIDR tag:value ... lines that names the networks of remote ends; read again at SIGHUP"},
		{"SOCKTALLY_TAGS", "", "tags of every sample beside DD_TAGS, such as team:net,role:db"},
		{"SOCKTALLY_HTTP_URL", "", "base URL of the intake of http, such as http://127.0.0.1:8428/datadog; from DD_SITE if not set"},
		{"SOCKTALLY_STATE_DIR", "/var/lib/socktally", "where samples wait that could not be delivered, and what socktally once saves for the next run; systemd's STATE_DIRECTORY if that is set"},
		{"SOCKTALLY_SPOOL_MAX_BYTES", "64MiB", "how much may wait for one sink, in bytes or with KiB, MiB, GiB; 0 keeps nothing"},
		{"SOCKTALLY_SPOOL_MAX_AGE", "1h", "how long a sample may wait; the Datadog intake refuses what is older than an hour"},
		{"SOCKTALLY_LISTEN", "", "address of the read API: host:port or unix:///path; empty for no API and no store"},
		{"SOCKTALLY_API_KEYS", "", "keys, a comma list, of which a query must carry one as DD-API-KEY; needed where other hosts can reach the API"},
		{"SOCKTALLY_TLS_CERT", "", "file of the API's certificate chain, PEM"},
		{"SOCKTALLY_TLS_KEY", "", "file of that certificate's key, PEM"},
		{"SOCKTALLY_TLS", "", "proxy says that a proxy in front of the API speaks TLS, where other hosts can reach it"},
		{"SOCKTALLY_RETENTION", "120h", "how long the store of the API keeps"},
		{"SOCKTALLY_LOG_LEVEL", "info", "debug, info, warn or error"},
		{"SOCKTALLY_LOG_FORMAT", "text", "text or json"},

		{"DD_AGENT_HOST", "127.0.0.1", "host of the DogStatsD receiver; a name is looked up, but for localhost, which is 127.0.0.1"},
		{"DD_DOGSTATSD_PORT", "8125", "its UDP port"},
		{"DD_DOGSTATSD_URL", "", "its address instead of host and port: udp://host:port, unix:///path (datagram or stream), unixgram:///path, unixstream:///path"},
		{"DD_API_KEY", "", "key of the intake; needed by http unless SOCKTALLY_HTTP_URL is set"},
		{"DD_SITE", "datadoghq.com", "Datadog site of the intake"},
		{"DD_HOSTNAME", "", "host of the samples; if set, DogStatsD samples carry it as a tag too (the kernel's host name for http if not)"},
		{"DD_TAGS", "", "tags of every sample, between commas or spaces"},
		{"DD_ENV", "", "tag env"},
		{"DD_SERVICE", "", "tag service"},
		{"DD_VERSION", "", "tag version"},
		{"DD_ENTITY_ID", "", "container or pod of a DogStatsD sample, for the Agent's origin detection"},
		{"DD_EXTERNAL_ENV", "", "the same, as the Datadog admission controller injects it"},
		{"HTTPS_PROXY", "", "proxy of http, with HTTP_PROXY and NO_PROXY beside it"},
	}
}

// stateDirectory is the variable that systemd sets for a service with StateDirectory=.
const stateDirectory = "STATE_DIRECTORY"

// defaults returns the default of every variable by its name.
func defaults() map[string]string {
	all := map[string]string{stateDirectory: ""}
	for _, v := range Variables() {
		all[v.Name] = v.Default
	}
	return all
}

// Environment holds variables by their names.
type Environment map[string]string

// ParseEnvironment parses entries of the form NAME=value, such as those of os.Environ.
func ParseEnvironment(entries []string) Environment {
	env := Environment{}
	for _, entry := range entries {
		if name, value, found := strings.Cut(entry, "="); found {
			env[name] = value
		}
	}
	return env
}

// Lookup returns the value of a variable, and whether there is one. It is for Load.
func (e Environment) Lookup(name string) (string, bool) {
	value, found := e[name]
	return value, found
}

// Complete adds the variables of other that are missing or empty in e. It returns the added variables.
func (e Environment) Complete(other Environment) Environment {
	added := Environment{}
	for name, value := range other {
		if e[name] == "" {
			e[name], added[name] = value, value
		}
	}
	return added
}

// Warnings has a text for each unknown variable that begins with SOCKTALLY_, which most often is a misspelling.
func (e Environment) Warnings() []string {
	known := defaults()
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if _, found := known[name]; !found && strings.HasPrefix(name, "SOCKTALLY_") {
			warnings = append(warnings, "unknown variable "+name+" has no effect")
		}
	}
	return warnings
}
