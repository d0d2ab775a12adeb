// Package config turns the environment and an env file into checked settings. Every variable is
// checked at start and all faults are reported at once.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/robfig/cron/v3"

	"socktally/metric"
)

// The sinks that SOCKTALLY_FORWARD can name.
const (
	DogStatsD = "dogstatsd"
	HTTP      = "http"
	Stdout    = "stdout"
)

// Config is what the environment asks for, checked.
type Config struct {
	// Forward names the sinks, each once, in the order given.
	Forward []string
	// ScheduleSpec is the cron spec as written, Schedule its meaning.
	ScheduleSpec string
	Schedule     cron.Schedule
	Scope        metric.Scope
	// Flows is auto, ebpf, sockdiag or off. FlowsMax is how many flows an interval tells apart.
	Flows    string
	FlowsMax int
	// FlowsUDP says whether UDP is counted too, and with it DNS at DNSPorts, which is not nil.
	FlowsUDP          bool
	DNSPorts          []uint16
	FlowsScheduleSpec string
	FlowsSchedule     cron.Schedule
	// FlowTags are what the metrics of flows are split by, each once and known to metric.KnownFlowTag;
	// FlowMaxContexts is how many combinations of them an interval has at most.
	FlowTags        []string
	FlowMaxContexts int
	// NetworksFile is a file that networks.Load can read, "" for none.
	NetworksFile string
	// Tags are those of every sample, "key:value", without repetition.
	Tags []string
	// Hostname is never empty; HostnameGiven says that it was set by hand.
	Hostname      string
	HostnameGiven bool
	// DogStatsDAddress is where the sink dogstatsd sends to.
	DogStatsDAddress Address
	// HTTPURL is the base URL of the intake, without a slash at its end.
	HTTPURL string
	APIKey  Secret
	// StateDir is an absolute path. SpoolMaxBytes 0 means that nothing is kept.
	StateDir      string
	SpoolMaxBytes int64
	SpoolMaxAge   time.Duration
	API           API
	LogLevel      slog.Level
	LogFormat     string
	// Warnings are faults that do not stop a start, each one sentence.
	Warnings []string
}

// Secret is a string that formatting, logging and encoding do not reveal. Convert it to string for
// the secret itself.
type Secret string

const redacted = "[redacted]"

// String returns a placeholder.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter: every verb prints the placeholder.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, which encoding/json and slog's handlers ask.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Overrides are settings that stand above the environment, by the name of their variable.
type Overrides map[string]string

// Load reads the environment of the process under overrides and checks it. The error joins one
// error for each fault; each names the variable, its value unless it is secret, and what is accepted.
func Load(overrides Overrides) (Config, error) {
	for name, value := range overrides {
		if err := os.Setenv(name, value); err != nil {
			return Config{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	v, err := readVariables()
	if err != nil {
		return Config{}, err
	}
	c := checker{now: time.Now()}
	cfg := c.config(v)
	for _, name := range unknownVariables() {
		cfg.Warnings = append(cfg.Warnings, "unknown variable "+name+" has no effect")
	}
	return cfg, errors.Join(c.faults...)
}

// checker gathers the faults of all variables.
type checker struct {
	now    time.Time
	faults []error
}

// fault notes that the variable name cannot have value.
func (c *checker) fault(name, value string, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s=%q: %w", name, value, fmt.Errorf(format, args...)))
}

func (c *checker) config(v variables) Config {
	cfg := Config{
		ScheduleSpec: v.Schedule,
		Schedule:     c.schedule("SOCKTALLY_SCHEDULE", v.Schedule),
		Forward:      c.forward(v.Forward),
		Scope:        metric.Scope(c.oneOf("SOCKTALLY_SCOPE", v.Scope, string(metric.Host), string(metric.NetNS))),
		Flows:        c.oneOf("SOCKTALLY_FLOWS", v.Flows, "auto", "ebpf", "sockdiag", "off"),
		FlowsMax:     c.number("SOCKTALLY_FLOWS_MAX", v.FlowsMax, 1, 1<<24),
		FlowsUDP:     c.oneOf("SOCKTALLY_FLOWS_UDP", v.FlowsUDP, "on", "off") == "on",
		DNSPorts:     c.dnsPorts(v.DNSPorts),
		FlowTags:     c.flowTags(v.FlowTags),
		NetworksFile: v.Networks,
		Tags:         c.tags(v),
		Hostname:     c.hostname(v.Hostname),
		LogFormat:    c.oneOf("SOCKTALLY_LOG_FORMAT", v.LogFormat, "text", "json"),

		StateDir:      c.stateDir(v.StateDir),
		SpoolMaxBytes: c.bytes("SOCKTALLY_SPOOL_MAX_BYTES", v.SpoolSize),
		SpoolMaxAge:   c.duration("SOCKTALLY_SPOOL_MAX_AGE", v.SpoolAge, time.Minute),
	}
	cfg.HostnameGiven = v.Hostname != ""
	cfg.API = c.api(v)
	cfg.FlowsScheduleSpec, cfg.FlowsSchedule = v.FlowsTick, c.schedule("SOCKTALLY_FLOWS_SCHEDULE", v.FlowsTick)
	cfg.FlowMaxContexts = c.number("SOCKTALLY_FLOW_MAX_CONTEXTS", v.FlowMost, 1, 1<<20)
	if cfg.Flows != "off" {
		c.networks(v.Networks)
	} else if v.Listen != "" {
		cfg.Warnings = append(cfg.Warnings, "with SOCKTALLY_FLOWS=off the API at SOCKTALLY_LISTEN learns nothing new")
	}
	levels := []string{"debug", "info", "warn", "error"}
	if c.oneOf("SOCKTALLY_LOG_LEVEL", v.LogLevel, levels...) != "" {
		// The name is one that slog knows.
		_ = cfg.LogLevel.UnmarshalText([]byte(v.LogLevel))
	}
	if slices.Contains(cfg.Forward, DogStatsD) {
		cfg.DogStatsDAddress = c.dogStatsDAddress(v)
	}
	if slices.Contains(cfg.Forward, HTTP) {
		cfg.HTTPURL, cfg.APIKey = c.httpURL(v), c.apiKey(v)
		c.proxy(v.HTTPSProxy)
	}
	c.origin("DD_ENTITY_ID", v.EntityID)
	c.origin("DD_EXTERNAL_ENV", v.ExternalEnv)
	return cfg
}

func (c *checker) schedule(name, spec string) cron.Schedule {
	s, err := ParseSchedule(spec, c.now)
	if err != nil {
		c.fault(name, spec, "%w", err)
	}
	return s
}

// oneOf returns value if it is accepted, and "" otherwise.
func (c *checker) oneOf(name, value string, accepted ...string) string {
	if slices.Contains(accepted, value) {
		return value
	}
	c.fault(name, value, "want one of %s", strings.Join(accepted, ", "))
	return ""
}

// origin checks what the DogStatsD client puts into each line by itself.
func (c *checker) origin(name, value string) {
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) || r == '|' }) {
		c.fault(name, value, "want printable characters and no |")
	}
}

// forward returns the sinks of the list, or none and one fault.
func (c *checker) forward(list string) []string {
	var sinks []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name != DogStatsD && name != HTTP && name != Stdout:
			c.fault("SOCKTALLY_FORWARD", list, "unknown sink %q: want a comma list of %s, %s, %s", name, DogStatsD, HTTP, Stdout)
			return nil
		case slices.Contains(sinks, name):
			c.fault("SOCKTALLY_FORWARD", list, "sink %s is named twice", name)
			return nil
		}
		sinks = append(sinks, name)
	}
	return sinks
}

// tags merges DD_TAGS, SOCKTALLY_TAGS and the three tags that have a variable of their own. As with
// Datadog's own clients, the variable wins over the same key in a list.
func (c *checker) tags(v variables) []string {
	var own []string
	for _, t := range []struct{ name, key, value string }{
		{"DD_ENV", "env", v.Env}, {"DD_SERVICE", "service", v.Service}, {"DD_VERSION", "version", v.Version},
	} {
		if t.value == "" {
			continue
		}
		if err := metric.CheckTag(t.key + ":" + t.value); err != nil {
			c.fault(t.name, t.value, "%w: want letters, digits and _-:./, at most %d characters", err, metric.MaxTagLength-len(t.key+":"))
			continue
		}
		own = append(own, t.key+":"+t.value)
	}
	lists := [][]string{own}
	for _, l := range []struct{ name, value string }{{"DD_TAGS", v.DDTags}, {"SOCKTALLY_TAGS", v.Tags}} {
		tags, err := parseTags(l.value)
		if err != nil {
			c.fault(l.name, l.value, "%w: want tags such as role:db between commas or spaces, each a letter and then letters, digits and _-:./, at most %d characters", err, metric.MaxTagLength)
		}
		lists = append(lists, slices.DeleteFunc(tags, func(tag string) bool {
			key, _, _ := strings.Cut(tag, ":")
			return slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, key+":") })
		}))
	}
	return mergeTags(lists...)
}

func (c *checker) hostname(given string) string {
	if given != "" {
		if err := metric.CheckTag("host:" + given); err != nil {
			c.fault("DD_HOSTNAME", given, "%w: want a host name of letters, digits and _-:./, at most %d characters", err, metric.MaxTagLength-len("host:"))
		}
		return given
	}
	name, err := os.Hostname()
	if err != nil {
		c.faults = append(c.faults, fmt.Errorf("DD_HOSTNAME is not set and the kernel's host name cannot be read: %w", err))
	}
	return name
}

// stateDir prefers the variable over the folder that systemd made for the service.
func (c *checker) stateDir(value string) string {
	name := "SOCKTALLY_STATE_DIR"
	if first, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); first != "" && os.Getenv(name) == "" {
		name, value = "STATE_DIRECTORY", first
	}
	if !filepath.IsAbs(value) {
		c.fault(name, value, "want an absolute path")
	}
	return filepath.Clean(value)
}

// byteUnits are the suffixes of a size, longest first where one ends in another.
var byteUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

func (c *checker) bytes(name, value string) int64 {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(value, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err == nil && n >= 0 && n <= math.MaxInt64/u.bytes {
			return n * u.bytes
		}
		break
	}
	c.fault(name, value, "want a number of bytes, or one with KiB, MiB or GiB, such as 64MiB")
	return 0
}

func (c *checker) number(name, value string, least, most int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		c.fault(name, value, "want a number from %d to %d", least, most)
	}
	return n
}

func (c *checker) duration(name, value string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		c.fault(name, value, "want a duration of at least %v, such as 90m or 1h", least)
	}
	return d
}
