package config

import (
	"log/slog"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"socktally/metric"
)

type environment = Environment

func TestLoadDefaults(t *testing.T) {
	cfg, err := Load(environment{}.Lookup)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Forward:  []string{"dogstatsd"},
		Schedule: Schedule{Spec: "@every 15s", Schedule: cfg.Schedule.Schedule},
		Scope:    metric.Host,
		Flows: Flows{
			Mode:            "auto",
			Max:             16384,
			UDP:             true,
			DNSPorts:        []uint16{53},
			Schedule:        Schedule{Spec: "@every 30s", Schedule: cfg.Flows.Schedule.Schedule},
			Tags:            []string{"direction", "protocol", "service", "remote", "server_port"},
			MaxCombinations: 500,
		},
		Hostname:  host,
		DogStatsD: DogStatsD{Address{"udp", "127.0.0.1:8125"}},
		StateDir:  "/var/lib/socktally",
		Spool:     Spool{MaxBytes: 64 << 20, MaxAge: time.Hour},
		API:       API{Retention: 120 * time.Hour},
		Log:       Log{Level: slog.LevelInfo, Format: "text"},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	now := time.Now()
	if wait := cfg.Schedule.Next(now).Sub(now); wait <= 14*time.Second || wait > 15*time.Second {
		t.Errorf("the first tick comes after %v", wait)
	}
}

func TestLoadEverything(t *testing.T) {
	env := environment{
		"SOCKTALLY_FORWARD":           "stdout, http,dogstatsd",
		"SOCKTALLY_SCHEDULE":          "CRON_TZ=UTC */10 * * * * *",
		"SOCKTALLY_SCOPE":             "netns",
		"SOCKTALLY_FLOWS":             "sockdiag",
		"SOCKTALLY_FLOWS_MAX":         "100",
		"SOCKTALLY_FLOWS_UDP":         "off",
		"SOCKTALLY_DNS_PORTS":         "53, 5353",
		"SOCKTALLY_FLOWS_SCHEDULE":    "@hourly",
		"SOCKTALLY_FLOW_TAGS":         "service, tag.team,networks",
		"SOCKTALLY_FLOW_MAX_CONTEXTS": "20",
		"SOCKTALLY_NETWORKS_FILE":     "/dev/null",
		"SOCKTALLY_TAGS":              "team:net,role:db",
		"SOCKTALLY_HTTP_URL":          "http://127.0.0.1:8428/datadog/",
		"SOCKTALLY_STATE_DIR":         "/srv/state/",
		"SOCKTALLY_SPOOL_MAX_BYTES":   "1GiB",
		"SOCKTALLY_SPOOL_MAX_AGE":     "90m",
		"SOCKTALLY_LISTEN":            ":8127",
		"SOCKTALLY_API_KEYS":          "0123456789abcdef, fedcba9876543210,",
		"SOCKTALLY_TLS":               "proxy",
		"SOCKTALLY_RETENTION":         "24h",
		"SOCKTALLY_LOG_LEVEL":         "debug",
		"SOCKTALLY_LOG_FORMAT":        "json",
		"DD_AGENT_HOST":               "::1",
		"DD_DOGSTATSD_PORT":           "9125",
		"DD_API_KEY":                  "0123",
		"DD_HOSTNAME":                 "db-1.invalid",
		"DD_TAGS":                     "region:north role:db",
		"DD_ENV":                      "prod",
		"HTTPS_PROXY":                 "http://user:password@127.0.0.1:3128",
	}
	cfg, err := Load(env.Lookup)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Forward:  []string{"stdout", "http", "dogstatsd"},
		Schedule: Schedule{Spec: "CRON_TZ=UTC */10 * * * * *", Schedule: cfg.Schedule.Schedule},
		Scope:    metric.NetNS,
		Flows: Flows{
			Mode:            "sockdiag",
			Max:             100,
			DNSPorts:        []uint16{53, 5353},
			Schedule:        Schedule{Spec: "@hourly", Schedule: cfg.Flows.Schedule.Schedule},
			Tags:            []string{"service", "tag.team", "networks"},
			MaxCombinations: 20,
			NetworksFile:    "/dev/null",
		},
		Tags:          []string{"env:prod", "region:north", "role:db", "team:net"},
		Hostname:      "db-1.invalid",
		HostnameGiven: true,
		DogStatsD:     DogStatsD{Address{"udp", "[::1]:9125"}},
		HTTP:          HTTP{URL: "http://127.0.0.1:8428/datadog", APIKey: "0123", Proxy: "http://user:password@127.0.0.1:3128"},
		StateDir:      "/srv/state",
		Spool:         Spool{MaxBytes: 1 << 30, MaxAge: 90 * time.Minute},
		API:           API{Listen: Address{"tcp", ":8127"}, Keys: []Secret{"0123456789abcdef", "fedcba9876543210"}, Retention: 24 * time.Hour},
		Log:           Log{Level: slog.LevelDebug, Format: "json"},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

// TestLoadNetworksNotInUse checks that the table of networks is not read if flows are off.
func TestLoadNetworksNotInUse(t *testing.T) {
	env := environment{"SOCKTALLY_FLOWS": "off", "SOCKTALLY_NETWORKS_FILE": "/absent/networks"}
	if _, err := Load(env.Lookup); err != nil {
		t.Error(err)
	}
}

func TestUnknownVariablesAreWarnedOf(t *testing.T) {
	env := environment{"SOCKTALLY_SCHEDULES": "secret", "SOCKTALLY_A": "", "XSOCKTALLY_B": "1", "DD_TRACE_ENABLED": "1"}
	want := []string{"unknown variable SOCKTALLY_A has no effect", "unknown variable SOCKTALLY_SCHEDULES has no effect"}
	if got := env.Warnings(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoadStateDirectory(t *testing.T) {
	tests := []struct {
		env  environment
		want string
	}{
		{environment{"STATE_DIRECTORY": "/run/a:/run/b"}, "/run/a"},
		{environment{"STATE_DIRECTORY": "/run/a", "SOCKTALLY_STATE_DIR": "/b/../c"}, "/c"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			cfg, err := Load(test.env.Lookup)
			if err != nil || cfg.StateDir != test.want {
				t.Errorf("got %q, %v", cfg.StateDir, err)
			}
		})
	}
}

func TestLoadSizes(t *testing.T) {
	for value, want := range map[string]int64{"0": 0, "1": 1, "2KiB": 2048, "3 MiB": 3 << 20, "4GiB": 4 << 30} {
		t.Run(value, func(t *testing.T) {
			env := environment{"SOCKTALLY_SPOOL_MAX_BYTES": value}
			cfg, err := Load(env.Lookup)
			if err != nil || cfg.Spool.MaxBytes != want {
				t.Errorf("got %d, %v, want %d", cfg.Spool.MaxBytes, err, want)
			}
		})
	}
}

func TestVariablesAreDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Variables() {
		if v.Name == "" || v.Description == "" || seen[v.Name] {
			t.Errorf("%+v lacks a name or a description, or is there twice", v)
		}
		seen[v.Name] = true
	}
}

// TestEveryVariableIsRead checks that Load reads exactly the variables in the list.
func TestEveryVariableIsRead(t *testing.T) {
	read := map[string]bool{}
	env := environment{"SOCKTALLY_FORWARD": "dogstatsd,http", "DD_API_KEY": "0123"}
	if _, err := Load(func(name string) (string, bool) { read[name] = true; return env.Lookup(name) }); err != nil {
		t.Fatal(err)
	}
	for _, v := range Variables() {
		if !read[v.Name] {
			t.Errorf("%s is documented and never read", v.Name)
		}
	}
}
