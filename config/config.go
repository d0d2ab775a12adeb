// Package config makes settings from the environment and an env file. It checks every variable at the start, and reports
// all faults together.
package config

import (
	"cmp"
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

	"socktally/metric"
)

// Config has the checked settings.
type Config struct {
	// Forward names the sinks, each once, in the order given.
	Forward  []string
	Schedule Schedule
	Scope    metric.Scope
	Flows    Flows
	// Tags are the tags of every sample, "key:value", each once.
	Tags []string
	// Hostname is never empty. HostnameGiven says that it is from DD_HOSTNAME.
	Hostname      string
	HostnameGiven bool
	DogStatsD     DogStatsD
	HTTP          HTTP
	// StateDir is an absolute path.
	StateDir string
	Spool    Spool
	API      API
	Log      Log
	// Warnings are faults in spite of which the program starts, one sentence each.
	Warnings []string
}

// Flows has the settings of flows and their metrics.
type Flows struct {
	// Mode is auto, ebpf, sockdiag or off.
	Mode string
	// Max is how many flows an interval may have.
	Max int
	// UDP says whether UDP is counted too, and with it DNS at DNSPorts. DNSPorts is not nil.
	UDP      bool
	DNSPorts []uint16
	Schedule Schedule
	// Tags are the tags of the metrics of flows, each once and known to metric.KnownFlowTag. MaxCombinations is how many
	// combinations of them an interval has at most (SOCKTALLY_FLOW_MAX_CONTEXTS).
	Tags            []string
	MaxCombinations int
	// NetworksFile is a file that networks.Load can read, "" for none.
	NetworksFile string
}

// On says whether flows are counted.
func (f Flows) On() bool { return f.Mode != "off" }

// DogStatsD is where the sink dogstatsd sends to.
type DogStatsD struct {
	Address Address
}

// HTTP is where the sink http sends to.
type HTTP struct {
	// URL is the base URL of the intake, without a slash at its end.
	URL    string
	APIKey Secret
	// Proxy is the value of HTTPS_PROXY, "" for none. It may have a password in it. It is only used for the settings of
	// another process: net/http itself reads the variable of this one.
	Proxy Secret
}

// Spool has the limits of what is kept on disk for a sink. If MaxBytes is 0, nothing is kept.
type Spool struct {
	MaxBytes int64
	MaxAge   time.Duration
}

// Log has the settings of the log. Format is text or json.
type Log struct {
	Level  slog.Level
	Format string
}

// Secret is a string that is never shown when it is formatted, logged or encoded. A conversion to string gives the secret
// itself.
type Secret string

const redacted = "[redacted]"

// String returns a placeholder.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter: every verb prints the placeholder.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, which encoding/json and the handlers of slog use.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Load reads each variable by lookup and checks the values. The error joins one error for each fault, which has the name of
// the variable, its value unless that is secret, and what is accepted.
func Load(lookup func(name string) (value string, found bool)) (Config, error) {
	c := checker{lookup: lookup, defaults: defaults(), now: time.Now()}
	cfg := c.config()
	return cfg, errors.Join(c.faults...)
}

// checker reads variables and collects their faults.
type checker struct {
	lookup   func(string) (string, bool)
	defaults map[string]string
	now      time.Time
	faults   []error
}

// given returns the value of a variable, "" if it is not set.
func (c *checker) given(name string) string {
	if _, known := c.defaults[name]; !known {
		panic("config: " + name + " is read and not in the list of variables")
	}
	value, _ := c.lookup(name)
	return value
}

// value returns the value of a variable, or its default if it is not set.
func (c *checker) value(name string) string { return cmp.Or(c.given(name), c.defaults[name]) }

// fault adds a fault: the variable name cannot have this value.
func (c *checker) fault(name, value string, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s=%q: %w", name, value, fmt.Errorf(format, args...)))
}

// hiddenFault adds a fault of the variable name without showing its value.
func (c *checker) hiddenFault(name, want string) {
	c.faults = append(c.faults, errors.New(name+": "+want+" (its value is not shown)"))
}

func (c *checker) config() Config {
	cfg := Config{
		Schedule:      c.schedule("SOCKTALLY_SCHEDULE"),
		Scope:         metric.Scope(c.oneOf("SOCKTALLY_SCOPE", string(metric.Host), string(metric.NetNS))),
		Flows:         c.flows(),
		Tags:          c.tags(),
		Hostname:      c.hostname(),
		HostnameGiven: c.given("DD_HOSTNAME") != "",
		StateDir:      c.stateDir(),
		Spool: Spool{
			MaxBytes: c.bytes("SOCKTALLY_SPOOL_MAX_BYTES"),
			MaxAge:   c.duration("SOCKTALLY_SPOOL_MAX_AGE", time.Minute),
		},
		API: c.api(),
		Log: Log{Level: c.logLevel(), Format: c.oneOf("SOCKTALLY_LOG_FORMAT", "text", "json")},
	}
	if !cfg.Flows.On() && c.given("SOCKTALLY_LISTEN") != "" {
		cfg.Warnings = append(cfg.Warnings, "with SOCKTALLY_FLOWS=off the API at SOCKTALLY_LISTEN learns nothing new")
	}
	c.forward(&cfg)
	c.origin("DD_ENTITY_ID")
	c.origin("DD_EXTERNAL_ENV")
	return cfg
}

func (c *checker) schedule(name string) Schedule {
	s, err := ParseSchedule(c.value(name), c.now)
	if err != nil {
		c.fault(name, c.value(name), "%w", err)
	}
	return s
}

func (c *checker) logLevel() (level slog.Level) {
	if name := c.oneOf("SOCKTALLY_LOG_LEVEL", "debug", "info", "warn", "error"); name != "" {
		_ = level.UnmarshalText([]byte(name)) // cannot fail: slog knows all of these names
	}
	return level
}

// oneOf returns the value of a variable, or "" and a fault if the value is not accepted.
func (c *checker) oneOf(name string, accepted ...string) string {
	value := c.value(name)
	if slices.Contains(accepted, value) {
		return value
	}
	c.fault(name, value, "want one of %s", strings.Join(accepted, ", "))
	return ""
}

// origin checks a variable that the DogStatsD client itself reads and adds to each line.
func (c *checker) origin(name string) {
	value := c.value(name)
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) || r == '|' }) {
		c.fault(name, value, "want printable characters and no |")
	}
}

// tags merges DD_TAGS, SOCKTALLY_TAGS and the tags of unified service tagging (DD_ENV, DD_SERVICE and DD_VERSION). As in
// Datadog's clients, these three variables win over the same key in a list.
func (c *checker) tags() []string {
	var unified []string
	for _, t := range []struct{ name, key string }{{"DD_ENV", "env"}, {"DD_SERVICE", "service"}, {"DD_VERSION", "version"}} {
		value := c.value(t.name)
		if value == "" {
			continue
		}
		if err := metric.CheckTag(t.key + ":" + value); err != nil {
			c.fault(t.name, value, "%w: want letters, digits and _-:./, at most %d characters", err, metric.MaxTagLength-len(t.key+":"))
			continue
		}
		unified = append(unified, t.key+":"+value)
	}
	lists := [][]string{unified}
	for _, name := range []string{"DD_TAGS", "SOCKTALLY_TAGS"} {
		tags, err := parseTags(c.value(name))
		if err != nil {
			c.fault(name, c.value(name), "%w: want tags such as role:db between commas or spaces, each a letter and then letters, digits and _-:./, at most %d characters", err, metric.MaxTagLength)
		}
		lists = append(lists, slices.DeleteFunc(tags, func(tag string) bool {
			key, _, _ := strings.Cut(tag, ":")
			return slices.ContainsFunc(unified, func(o string) bool { return strings.HasPrefix(o, key+":") })
		}))
	}
	return mergeTags(lists...)
}

func (c *checker) hostname() string {
	if given := c.given("DD_HOSTNAME"); given != "" {
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

// stateDir returns the state folder. SOCKTALLY_STATE_DIR wins over the folder that systemd makes for the service.
func (c *checker) stateDir() string {
	name := "SOCKTALLY_STATE_DIR"
	value := c.value(name)
	if first, _, _ := strings.Cut(c.given(stateDirectory), ":"); first != "" && c.given(name) == "" {
		name, value = stateDirectory, first
	}
	if !filepath.IsAbs(value) {
		c.fault(name, value, "want an absolute path")
	}
	return filepath.Clean(value)
}

// byteUnits are the suffixes of a size. The empty suffix comes last, because every text ends with it.
var byteUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

func (c *checker) bytes(name string) int64 {
	value := c.value(name)
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

func (c *checker) number(name string, least, most int) int {
	value := c.value(name)
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		c.fault(name, value, "want a number from %d to %d", least, most)
	}
	return n
}

func (c *checker) duration(name string, least time.Duration) time.Duration {
	value := c.value(name)
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		c.fault(name, value, "want a duration of at least %v, such as 90m or 1h", least)
	}
	return d
}
