package config

import (
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// variables are the environment variables as they are written. All are strings, so that one bad
// value does not hide the next: Load checks them together. Each name is spelt in full, because
// envconfig with a prefix also takes SCHEDULE where SOCKTALLY_SCHEDULE is not set.
type variables struct {
	Forward   string `envconfig:"SOCKTALLY_FORWARD" default:"dogstatsd" desc:"where samples go: a comma list of dogstatsd, http, stdout"`
	Schedule  string `envconfig:"SOCKTALLY_SCHEDULE" default:"@every 15s" desc:"cron spec of the readings: 5 fields, or 6 with seconds first, or @every 15s; CRON_TZ=zone may precede it"`
	Scope     string `envconfig:"SOCKTALLY_SCOPE" default:"host" desc:"host: all fields; netns: only those of the own network namespace, for a sidecar"`
	Flows     string `envconfig:"SOCKTALLY_FLOWS" default:"auto" desc:"how flows are counted: ebpf, sockdiag, auto for the first of them that this host allows, or off"`
	FlowsMax  string `envconfig:"SOCKTALLY_FLOWS_MAX" default:"16384" desc:"flows of one interval that are told apart; what goes beyond is summed in one record"`
	FlowsUDP  string `envconfig:"SOCKTALLY_FLOWS_UDP" default:"on" desc:"on counts UDP and DNS too, which has a program look at each packet; off leaves them out"`
	DNSPorts  string `envconfig:"SOCKTALLY_DNS_PORTS" default:"53" desc:"ports of DNS servers, a comma list of four at most, or none"`
	FlowsTick string `envconfig:"SOCKTALLY_FLOWS_SCHEDULE" default:"@every 30s" desc:"cron spec of the tallies of flows, as SOCKTALLY_SCHEDULE"`
	FlowTags  string `envconfig:"SOCKTALLY_FLOW_TAGS" default:"direction,protocol,service,remote,server_port" desc:"what the metrics of flows are split by, a comma list; see docs/flow-metrics.md"`
	FlowMost  string `envconfig:"SOCKTALLY_FLOW_MAX_CONTEXTS" default:"500" desc:"combinations of those tags that one tally sends at most; the smaller ones go to one that is tagged other"`
	Networks  string `envconfig:"SOCKTALLY_NETWORKS_FILE" desc:"file of CIDR tag:value ... lines that names the networks of remote ends; read again at SIGHUP"`
	Tags      string `envconfig:"SOCKTALLY_TAGS" desc:"tags of every sample beside DD_TAGS, such as team:net,role:db"`
	HTTPURL   string `envconfig:"SOCKTALLY_HTTP_URL" desc:"base URL of the intake of http, such as http://127.0.0.1:8428/datadog; from DD_SITE if not set"`
	StateDir  string `envconfig:"SOCKTALLY_STATE_DIR" default:"/var/lib/socktally" desc:"where samples wait that could not be delivered; systemd's STATE_DIRECTORY if that is set"`
	SpoolSize string `envconfig:"SOCKTALLY_SPOOL_MAX_BYTES" default:"64MiB" desc:"how much may wait for one sink, in bytes or with KiB, MiB, GiB; 0 keeps nothing"`
	SpoolAge  string `envconfig:"SOCKTALLY_SPOOL_MAX_AGE" default:"1h" desc:"how long a sample may wait; the Datadog intake refuses what is older than an hour"`
	Listen    string `envconfig:"SOCKTALLY_LISTEN" desc:"address of the read API: host:port or unix:///path; empty for no API and no store"`
	APIKeys   string `envconfig:"SOCKTALLY_API_KEYS" desc:"keys, a comma list, of which a query must carry one as DD-API-KEY; needed where other hosts can reach the API"`
	TLSCert   string `envconfig:"SOCKTALLY_TLS_CERT" desc:"file of the API's certificate chain, PEM"`
	TLSKey    string `envconfig:"SOCKTALLY_TLS_KEY" desc:"file of that certificate's key, PEM"`
	TLS       string `envconfig:"SOCKTALLY_TLS" desc:"proxy says that a proxy in front of the API speaks TLS, where other hosts can reach it"`
	Retention string `envconfig:"SOCKTALLY_RETENTION" default:"120h" desc:"how long the store of the API keeps"`
	LogLevel  string `envconfig:"SOCKTALLY_LOG_LEVEL" default:"info" desc:"debug, info, warn or error"`
	LogFormat string `envconfig:"SOCKTALLY_LOG_FORMAT" default:"text" desc:"text or json"`

	AgentHost     string `envconfig:"DD_AGENT_HOST" default:"127.0.0.1" desc:"host of the DogStatsD receiver; a name is looked up, but for localhost, which is 127.0.0.1"`
	DogStatsDPort string `envconfig:"DD_DOGSTATSD_PORT" default:"8125" desc:"its UDP port"`
	DogStatsDURL  string `envconfig:"DD_DOGSTATSD_URL" desc:"its address instead of host and port: udp://host:port, unix:///path (datagram or stream), unixgram:///path, unixstream:///path"`
	APIKey        string `envconfig:"DD_API_KEY" desc:"key of the intake; needed by http unless SOCKTALLY_HTTP_URL is set"`
	Site          string `envconfig:"DD_SITE" default:"datadoghq.com" desc:"Datadog site of the intake"`
	Hostname      string `envconfig:"DD_HOSTNAME" desc:"host of the samples; if set, DogStatsD samples carry it as a tag too (the kernel's host name for http if not)"`
	DDTags        string `envconfig:"DD_TAGS" desc:"tags of every sample, between commas or spaces"`
	Env           string `envconfig:"DD_ENV" desc:"tag env"`
	Service       string `envconfig:"DD_SERVICE" desc:"tag service"`
	Version       string `envconfig:"DD_VERSION" desc:"tag version"`
	EntityID      string `envconfig:"DD_ENTITY_ID" desc:"container or pod of a DogStatsD sample, for the Agent's origin detection"`
	ExternalEnv   string `envconfig:"DD_EXTERNAL_ENV" desc:"the same, as the Datadog admission controller injects it"`
	HTTPSProxy    string `envconfig:"HTTPS_PROXY" desc:"proxy of http, with HTTP_PROXY and NO_PROXY beside it"`
}

// Variable documents one environment variable.
type Variable struct {
	Name, Default, Description string
}

// Variables returns every environment variable that socktally reads, in the order of the
// documentation.
func Variables() []Variable {
	var all []Variable
	t := reflect.TypeFor[variables]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		all = append(all, Variable{tag.Get("envconfig"), tag.Get("default"), tag.Get("desc")})
	}
	return all
}

// readVariables reads the environment of the process. An empty value counts as none, because
// container tools pass on variables that their user did not set.
func readVariables() (variables, error) {
	var v variables
	if err := envconfig.Process("", &v); err != nil {
		return v, err
	}
	value := reflect.ValueOf(&v).Elem()
	for i, variable := range Variables() {
		if field := value.Field(i); field.String() == "" {
			field.SetString(variable.Default)
		}
	}
	return v, nil
}

// unknownVariables returns the variables of the environment that begin with SOCKTALLY_ and have no
// meaning: most often a misspelling.
func unknownVariables() []string {
	known := map[string]bool{}
	for _, v := range Variables() {
		known[v.Name] = true
	}
	var unknown []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "SOCKTALLY_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}
