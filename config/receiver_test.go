package config

import (
	"net"
	"path/filepath"
	"testing"
)

func TestLoadAddresses(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tests := []struct {
		env  environment
		want Address
	}{
		{environment{"DD_AGENT_HOST": "127.0.0.1"}, Address{"udp", "127.0.0.1:8125"}},
		{environment{"DD_AGENT_HOST": "agent.invalid", "DD_DOGSTATSD_PORT": "65535"}, Address{"udp", "agent.invalid:65535"}},
		{environment{"DD_AGENT_HOST": "::1"}, Address{"udp", "[::1]:8125"}},
		{environment{"DD_AGENT_HOST": "[::1]"}, Address{"udp", "[::1]:8125"}},
		{environment{"DD_AGENT_HOST": "fe80::1%eth0"}, Address{"udp", "[fe80::1%eth0]:8125"}},
		{environment{"DD_DOGSTATSD_URL": "udp://127.0.0.1:1"}, Address{"udp", "127.0.0.1:1"}},
		{environment{"DD_AGENT_HOST": "localhost"}, Address{"udp", "127.0.0.1:8125"}},
		{environment{"DD_DOGSTATSD_URL": "udp://LocalHost."}, Address{"udp", "127.0.0.1:8125"}},
		{environment{"DD_DOGSTATSD_URL": "udp://localhost:1"}, Address{"udp", "127.0.0.1:1"}},
		{environment{"DD_AGENT_HOST": "localhost.invalid"}, Address{"udp", "localhost.invalid:8125"}},
		{environment{"DD_DOGSTATSD_URL": "udp://[::1]"}, Address{"udp", "[::1]:8125"}},
		{environment{"DD_DOGSTATSD_URL": "udp://[fe80::1%eth0]:65535"}, Address{"udp", "[fe80::1%eth0]:65535"}},
		{environment{"DD_DOGSTATSD_URL": "unix://" + socket}, Address{"unix", socket}},
		{environment{"DD_DOGSTATSD_URL": "unixgram://" + dir + "/later"}, Address{"unixgram", dir + "/later"}},
		{environment{"DD_DOGSTATSD_URL": "unixstream:///absent/later"}, Address{"unixstream", "/absent/later"}},
	}
	for _, test := range tests {
		t.Run(test.want.String(), func(t *testing.T) {
			cfg, err := Load(test.env.Lookup)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.DogStatsD.Address != test.want {
				t.Errorf("got %v", cfg.DogStatsD.Address)
			}
		})
	}
}

func TestLoadHTTP(t *testing.T) {
	tests := []struct {
		env     environment
		url     string
		withKey bool
	}{
		{environment{"DD_API_KEY": "0123"}, "https://api.datadoghq.com", true},
		{environment{"DD_API_KEY": "0123", "DD_SITE": "datadoghq.eu"}, "https://api.datadoghq.eu", true},
		{environment{"SOCKTALLY_HTTP_URL": "http://127.0.0.1:8428/datadog"}, "http://127.0.0.1:8428/datadog", false},
		{environment{"SOCKTALLY_HTTP_URL": "https://[::1]:8428//", "DD_SITE": "not:used"}, "https://[::1]:8428", false},
		{environment{"SOCKTALLY_HTTP_URL": "HTTP://intake.invalid/@x", "DD_API_KEY": "0123"}, "HTTP://intake.invalid/@x", true},
		{environment{"SOCKTALLY_HTTP_URL": "http://[::1]", "HTTPS_PROXY": "127.0.0.1:3128"}, "http://[::1]", false},
	}
	for _, test := range tests {
		t.Run(test.url, func(t *testing.T) {
			test.env["SOCKTALLY_FORWARD"] = "http"
			cfg, err := Load(test.env.Lookup)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.HTTP.URL != test.url || (cfg.HTTP.APIKey != "") != test.withKey || cfg.DogStatsD.Address != (Address{}) {
				t.Errorf("got %+v", cfg)
			}
		})
	}
}

// TestLoadSinkNotInUse checks that the settings of a sink are ignored if it is not used.
func TestLoadSinkNotInUse(t *testing.T) {
	env := environment{
		"SOCKTALLY_FORWARD": "stdout", "DD_DOGSTATSD_URL": "nonsense", "DD_SITE": "a b", "SOCKTALLY_HTTP_URL": "x", "HTTPS_PROXY": ":",
	}
	if _, err := Load(env.Lookup); err != nil {
		t.Error(err)
	}
}
