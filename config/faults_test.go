package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoadFaults checks the message for each wrong value.
func TestLoadFaults(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	networks := filepath.Join(dir, "networks")
	if err := os.WriteFile(networks, []byte("# mine\n10.0.0/8 a:b\n10.0.0.0/8 a:b\n10.1.0.0/16 service:x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("x", 107)
	const (
		flowTag = "want a comma list of direction, protocol, family, source, service, env, version, process, pid, container_id, pod_uid, " +
			"remote, remote_ip, remote_class, remote_service, networks, client_ip, client_service, server_ip, server_port, " +
			"server_service, server_domain, dns_query, dns_qtype, or tag.key for what DD_TAGS of a process say under that key"
		network = "want a CIDR and tags such as 10.1.0.0/16 name:db team:storage, each tag of letters, digits and _-:./"
		sinks   = "want a comma list of dogstatsd, http, stdout"
		tag     = "want tags such as role:db between commas or spaces, each a letter and then letters, digits and _-:./, at most 200 characters"
		host    = "want a host name or an IP address; the port is DD_DOGSTATSD_PORT, a socket is DD_DOGSTATSD_URL"
		udp     = "want udp://host:port, with an IPv6 address in brackets: udp://[::1]:8125"
		scheme  = "want udp://host:port, unix:///path, unixgram:///path or unixstream:///path"
		httpURL = "want http:// or https://, a host and perhaps a port and a path"
		size    = "want a number of bytes, or one with KiB, MiB or GiB, such as 64MiB"
		age     = "want a duration of at least 1m0s, such as 90m or 1h"
		proxy   = "HTTPS_PROXY: want http://host:port, or https, socks5 or socks5h (its value is not shown)"
	)
	http := func(name, value string) environment {
		env := environment{"SOCKTALLY_FORWARD": "http", "DD_API_KEY": "0123"}
		env[name] = value
		return env
	}
	tests := []struct {
		env  environment
		want string
	}{
		{environment{"SOCKTALLY_FORWARD": "statsd"}, `SOCKTALLY_FORWARD="statsd": unknown sink "statsd": ` + sinks},
		{environment{"SOCKTALLY_FORWARD": "x,stdout,y,y"}, `SOCKTALLY_FORWARD="x,stdout,y,y": unknown sink "x": ` + sinks},
		{environment{"SOCKTALLY_FORWARD": "stdout,"}, `SOCKTALLY_FORWARD="stdout,": unknown sink "": ` + sinks},
		{environment{"SOCKTALLY_FORWARD": "stdout,stdout,stdout"}, `SOCKTALLY_FORWARD="stdout,stdout,stdout": sink stdout is named twice`},
		{environment{"SOCKTALLY_SCHEDULE": "0 25 * * *"}, `SOCKTALLY_SCHEDULE="0 25 * * *": column 3: hour "25", want 0-23 or *, in lists (1,2), ranges from low to high (1-5) or steps (*/5)`},
		{environment{"SOCKTALLY_SCHEDULE": "%d%s"}, `SOCKTALLY_SCHEDULE="%d%s": column 1: found 1 fields, want 5 (minute, hour, day of month, month, day of week) or 6 with the second first`},
		{environment{"SOCKTALLY_FLOWS": "on"}, `SOCKTALLY_FLOWS="on": want one of auto, ebpf, sockdiag, off`},
		{environment{"SOCKTALLY_FLOWS_MAX": "0"}, `SOCKTALLY_FLOWS_MAX="0": want a number from 1 to 16777216`},
		{environment{"SOCKTALLY_DNS_PORTS": "0"}, `SOCKTALLY_DNS_PORTS="0": want none, or at most 4 different ports from 1 to 65535, such as 53,5353`},
		{environment{"SOCKTALLY_DNS_PORTS": "53,53"}, `SOCKTALLY_DNS_PORTS="53,53": want none, or at most 4 different ports from 1 to 65535, such as 53,5353`},
		{environment{"SOCKTALLY_DNS_PORTS": "1,2,3,4,5"}, `SOCKTALLY_DNS_PORTS="1,2,3,4,5": want none, or at most 4 different ports from 1 to 65535, such as 53,5353`},
		{environment{"SOCKTALLY_DNS_PORTS": "domain"}, `SOCKTALLY_DNS_PORTS="domain": want none, or at most 4 different ports from 1 to 65535, such as 53,5353`},
		{environment{"SOCKTALLY_DNS_PORTS": "65536"}, `SOCKTALLY_DNS_PORTS="65536": want none, or at most 4 different ports from 1 to 65535, such as 53,5353`},
		{environment{"SOCKTALLY_DNS_PORTS": "53,"}, `SOCKTALLY_DNS_PORTS="53,": want none, or at most 4 different ports from 1 to 65535, such as 53,5353`},
		{environment{"SOCKTALLY_FLOWS_UDP": "yes"}, `SOCKTALLY_FLOWS_UDP="yes": want one of on, off`},
		{environment{"SOCKTALLY_FLOWS_MAX": "many"}, `SOCKTALLY_FLOWS_MAX="many": want a number from 1 to 16777216`},
		{environment{"SOCKTALLY_FLOWS_SCHEDULE": "@every 1"}, `SOCKTALLY_FLOWS_SCHEDULE="@every 1": column 1: @every needs a duration of whole seconds, 1s or more, such as 15s or 1m30s`},
		{environment{"SOCKTALLY_FLOW_TAGS": "service,remotes,x"}, `SOCKTALLY_FLOW_TAGS="service,remotes,x": unknown tag "remotes": ` + flowTag},
		{environment{"SOCKTALLY_FLOW_TAGS": "tag.Team"}, `SOCKTALLY_FLOW_TAGS="tag.Team": unknown tag "tag.Team": ` + flowTag},
		{environment{"SOCKTALLY_FLOW_TAGS": "service,"}, `SOCKTALLY_FLOW_TAGS="service,": unknown tag "": ` + flowTag},
		{environment{"SOCKTALLY_FLOW_TAGS": "service,env,service"}, `SOCKTALLY_FLOW_TAGS="service,env,service": tag service is named twice`},
		{environment{"SOCKTALLY_FLOW_MAX_CONTEXTS": "0"}, `SOCKTALLY_FLOW_MAX_CONTEXTS="0": want a number from 1 to 1048576`},
		{environment{"SOCKTALLY_NETWORKS_FILE": "/absent/networks"}, `SOCKTALLY_NETWORKS_FILE="/absent/networks": open /absent/networks: no such file or directory`},
		{environment{"SOCKTALLY_NETWORKS_FILE": networks}, strings.ReplaceAll(`SOCKTALLY_NETWORKS_FILE="PATH": line 2: "10.0.0/8" is not a CIDR: `+network+"\n"+
			`SOCKTALLY_NETWORKS_FILE="PATH": line 4: tag "service:x" is one that socktally sets: `+network, "PATH", networks)},
		{environment{"SOCKTALLY_SCOPE": "pod"}, `SOCKTALLY_SCOPE="pod": want one of host, netns`},
		{environment{"SOCKTALLY_LOG_LEVEL": "INFO"}, `SOCKTALLY_LOG_LEVEL="INFO": want one of debug, info, warn, error`},
		{environment{"SOCKTALLY_LOG_FORMAT": "xml"}, `SOCKTALLY_LOG_FORMAT="xml": want one of text, json`},

		{environment{"SOCKTALLY_STATE_DIR": "var/lib"}, `SOCKTALLY_STATE_DIR="var/lib": want an absolute path`},
		{environment{"STATE_DIRECTORY": "lib:/x"}, `STATE_DIRECTORY="lib": want an absolute path`},
		{environment{"SOCKTALLY_SPOOL_MAX_BYTES": "64MB"}, `SOCKTALLY_SPOOL_MAX_BYTES="64MB": ` + size},
		{environment{"SOCKTALLY_SPOOL_MAX_BYTES": "-1"}, `SOCKTALLY_SPOOL_MAX_BYTES="-1": ` + size},
		{environment{"SOCKTALLY_SPOOL_MAX_BYTES": "9999999999GiB"}, `SOCKTALLY_SPOOL_MAX_BYTES="9999999999GiB": ` + size},
		{environment{"SOCKTALLY_SPOOL_MAX_AGE": "1"}, `SOCKTALLY_SPOOL_MAX_AGE="1": ` + age},
		{environment{"SOCKTALLY_SPOOL_MAX_AGE": "59s"}, `SOCKTALLY_SPOOL_MAX_AGE="59s": ` + age},
		{environment{"SOCKTALLY_SPOOL_MAX_AGE": "-1h"}, `SOCKTALLY_SPOOL_MAX_AGE="-1h": ` + age},

		{environment{"SOCKTALLY_TAGS": "role:db,1x"}, `SOCKTALLY_TAGS="role:db,1x": tag "1x" does not begin with a letter: ` + tag},
		{environment{"SOCKTALLY_TAGS": "a:b\nc:d"}, `SOCKTALLY_TAGS="a:b\nc:d": character 4 is the control character '\n': ` + tag},
		{environment{"DD_TAGS": "é:\u0085"}, `DD_TAGS="é:\u0085": character 3 is the control character '\u0085': ` + tag},
		{environment{"DD_TAGS": "a:b|c"}, `DD_TAGS="a:b|c": tag "a:b|c" holds '|': ` + tag},
		{environment{"DD_TAGS": "a:\xff"}, `DD_TAGS="a:\xff": tag "a:\xff" is not UTF-8: ` + tag},
		{environment{"DD_TAGS": strings.Repeat("é", 201)}, `DD_TAGS="` + strings.Repeat("é", 201) + `": tag "` + strings.Repeat("é", 201) + `" is longer than 200 characters: ` + tag},
		{environment{"DD_ENV": "prod,stage"}, `DD_ENV="prod,stage": holds ',': want letters, digits and _-:./, at most 196 characters`},
		{environment{"DD_ENV": "prod "}, `DD_ENV="prod ": holds ' ': want letters, digits and _-:./, at most 196 characters`},
		{environment{"DD_SERVICE": "a\nb"}, `DD_SERVICE="a\nb": holds '\n': want letters, digits and _-:./, at most 192 characters`},
		{environment{"DD_VERSION": strings.Repeat("1", 193)}, `DD_VERSION="` + strings.Repeat("1", 193) + `": is longer than 200 characters: want letters, digits and _-:./, at most 192 characters`},
		{environment{"DD_HOSTNAME": "a b"}, `DD_HOSTNAME="a b": holds ' ': want a host name of letters, digits and _-:./, at most 195 characters`},
		{environment{"DD_ENTITY_ID": "a|b"}, `DD_ENTITY_ID="a|b": want printable characters and no |`},
		{environment{"DD_EXTERNAL_ENV": "a\tb"}, `DD_EXTERNAL_ENV="a\tb": want printable characters and no |`},

		{environment{"DD_DOGSTATSD_PORT": "0"}, `DD_DOGSTATSD_PORT="0": want a port from 1 to 65535`},
		{environment{"DD_DOGSTATSD_PORT": "65536"}, `DD_DOGSTATSD_PORT="65536": want a port from 1 to 65535`},
		{environment{"DD_DOGSTATSD_PORT": "abc"}, `DD_DOGSTATSD_PORT="abc": want a port from 1 to 65535`},
		{environment{"DD_DOGSTATSD_PORT": "-1"}, `DD_DOGSTATSD_PORT="-1": want a port from 1 to 65535`},
		{environment{"DD_AGENT_HOST": "127.0.0.1:8125"}, `DD_AGENT_HOST="127.0.0.1:8125": ` + host},
		{environment{"DD_AGENT_HOST": "[::1]:8125"}, `DD_AGENT_HOST="[::1]:8125": ` + host},
		{environment{"DD_AGENT_HOST": "[::1"}, `DD_AGENT_HOST="[::1": ` + host},
		{environment{"DD_AGENT_HOST": "fe80::1%"}, `DD_AGENT_HOST="fe80::1%": ` + host},
		{environment{"DD_AGENT_HOST": "127.0.0.1%lo"}, `DD_AGENT_HOST="127.0.0.1%lo": ` + host},
		{environment{"DD_AGENT_HOST": "unix:///run/dsd.socket"}, `DD_AGENT_HOST="unix:///run/dsd.socket": ` + host},
		{environment{"DD_AGENT_HOST": "a b"}, `DD_AGENT_HOST="a b": ` + host},

		{
			environment{"DD_DOGSTATSD_URL": "udp://127.0.0.1:1", "DD_AGENT_HOST": "127.0.0.1"},
			`DD_DOGSTATSD_URL="udp://127.0.0.1:1": stands beside DD_AGENT_HOST: want either the URL or host and port`,
		},
		{
			environment{"DD_DOGSTATSD_URL": "udp://127.0.0.1:1", "DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": "1"},
			`DD_DOGSTATSD_URL="udp://127.0.0.1:1": stands beside DD_AGENT_HOST and DD_DOGSTATSD_PORT: want either the URL or host and port`,
		},
		{environment{"DD_DOGSTATSD_URL": "udp://127.0.0.1:0"}, `DD_DOGSTATSD_URL="udp://127.0.0.1:0": port "0": want 1 to 65535`},
		{environment{"DD_DOGSTATSD_URL": "udp://[::1]:65536"}, `DD_DOGSTATSD_URL="udp://[::1]:65536": port "65536": want 1 to 65535`},
		{environment{"DD_DOGSTATSD_URL": "udp://localhost:abc"}, `DD_DOGSTATSD_URL="udp://localhost:abc": port "abc": want 1 to 65535`},
		{environment{"DD_DOGSTATSD_URL": "udp://localhost:"}, `DD_DOGSTATSD_URL="udp://localhost:": port "": want 1 to 65535`},
		{environment{"DD_DOGSTATSD_URL": "udp://::1:8125"}, `DD_DOGSTATSD_URL="udp://::1:8125": ` + udp},
		{environment{"DD_DOGSTATSD_URL": "udp://::1"}, `DD_DOGSTATSD_URL="udp://::1": ` + udp},
		{environment{"DD_DOGSTATSD_URL": "udp://[::1"}, `DD_DOGSTATSD_URL="udp://[::1": ` + udp},
		{environment{"DD_DOGSTATSD_URL": "udp://"}, `DD_DOGSTATSD_URL="udp://": ` + udp},
		{environment{"DD_DOGSTATSD_URL": "udp://:8125"}, `DD_DOGSTATSD_URL="udp://:8125": ` + udp},
		{environment{"DD_DOGSTATSD_URL": "127.0.0.1:8125"}, `DD_DOGSTATSD_URL="127.0.0.1:8125": ` + scheme},
		{environment{"DD_DOGSTATSD_URL": "tcp://127.0.0.1:8125"}, `DD_DOGSTATSD_URL="tcp://127.0.0.1:8125": ` + scheme},
		{environment{"DD_DOGSTATSD_URL": "unix://run/dsd.socket"}, `DD_DOGSTATSD_URL="unix://run/dsd.socket": want an absolute path: unix:///path`},
		{environment{"DD_DOGSTATSD_URL": "unixgram://"}, `DD_DOGSTATSD_URL="unixgram://": want an absolute path: unix:///path`},
		{environment{"DD_DOGSTATSD_URL": "unix://" + long}, `DD_DOGSTATSD_URL="unix://` + long + `": the path is 108 bytes long, the kernel takes 107`},
		{environment{"DD_DOGSTATSD_URL": "unix://" + file}, `DD_DOGSTATSD_URL="unix://` + file + `": this is a file, want the path of a socket`},
		{environment{"DD_DOGSTATSD_URL": "unixstream://" + dir}, `DD_DOGSTATSD_URL="unixstream://` + dir + `": this is a directory, want the path of a socket`},

		{environment{"SOCKTALLY_FORWARD": "http"}, "DD_API_KEY is not set: the sink http needs a key, or an intake of your own in SOCKTALLY_HTTP_URL"},
		{http("DD_API_KEY", "sec ret"), "DD_API_KEY: want printable ASCII characters without spaces (its value is not shown)"},
		{http("DD_API_KEY", "secret\n"), "DD_API_KEY: want printable ASCII characters without spaces (its value is not shown)"},
		{http("DD_SITE", "https://datadoghq.com"), `DD_SITE="https://datadoghq.com": want a domain such as datadoghq.com or datadoghq.eu`},
		{http("DD_SITE", "::1"), `DD_SITE="::1": want a domain such as datadoghq.com or datadoghq.eu`},
		{http("SOCKTALLY_HTTP_URL", "127.0.0.1:8428"), `SOCKTALLY_HTTP_URL="127.0.0.1:8428": first path segment in URL cannot contain colon: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "intake.invalid/path"), `SOCKTALLY_HTTP_URL="intake.invalid/path": scheme "": ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "udp://127.0.0.1:8125"), `SOCKTALLY_HTTP_URL="udp://127.0.0.1:8125": scheme "udp": ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://"), `SOCKTALLY_HTTP_URL="http://": host "": ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://127.0.0.1:0"), `SOCKTALLY_HTTP_URL="http://127.0.0.1:0": port "0" is not 1 to 65535: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://127.0.0.1:65536"), `SOCKTALLY_HTTP_URL="http://127.0.0.1:65536": port "65536" is not 1 to 65535: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://127.0.0.1:abc"), `SOCKTALLY_HTTP_URL="http://127.0.0.1:abc": invalid port ":abc" after host: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://me:secret@127.0.0.1"), `SOCKTALLY_HTTP_URL="[redacted]": a user or password may not stand in it: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://me:sec/ret@127.0.0.1"), `SOCKTALLY_HTTP_URL="[redacted]": a user or password may not stand in it: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://me:sec#ret@127.0.0.1"), `SOCKTALLY_HTTP_URL="[redacted]": a query or fragment may not stand in it: ` + httpURL},
		{http("SOCKTALLY_HTTP_URL", "http://127.0.0.1/?key=secret"), `SOCKTALLY_HTTP_URL="[redacted]": a query or fragment may not stand in it: ` + httpURL},
		{http("HTTPS_PROXY", "ftp://me:secret@127.0.0.1"), proxy},
		{http("HTTPS_PROXY", "http://me:sec ret@127.0.0.1:3128"), proxy},
		{http("HTTPS_PROXY", "http://:3128"), proxy},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			_, err := Load(test.env.Lookup)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			if text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
			for _, sign := range []string{"%!", "secret", "sec ret", "sec/ret", "sec#ret"} {
				if strings.Contains(text, sign) {
					t.Errorf("the error holds %q: %s", sign, text)
				}
			}
		})
	}
}

func TestLoadReportsAllFaultsAtOnce(t *testing.T) {
	env := environment{
		"SOCKTALLY_FORWARD": "dogstatsd,http", "SOCKTALLY_SCHEDULE": "x", "SOCKTALLY_SCOPE": "x",
		"SOCKTALLY_TAGS": "1", "SOCKTALLY_HTTP_URL": "x", "SOCKTALLY_LOG_LEVEL": "x", "SOCKTALLY_LOG_FORMAT": "x",
		"SOCKTALLY_STATE_DIR": "x", "SOCKTALLY_SPOOL_MAX_BYTES": "x", "SOCKTALLY_SPOOL_MAX_AGE": "x",
		"DD_AGENT_HOST": "a b", "DD_DOGSTATSD_PORT": "x", "DD_API_KEY": " ", "DD_HOSTNAME": "a b", "DD_TAGS": "1",
		"DD_ENV": "a b", "DD_SERVICE": "a b", "DD_VERSION": "a b", "DD_ENTITY_ID": "|", "DD_EXTERNAL_ENV": "|",
		"HTTPS_PROXY": "x://y", "SOCKTALLY_LISTEN": "x", "SOCKTALLY_API_KEYS": "x", "SOCKTALLY_TLS": "x", "SOCKTALLY_TLS_CERT": "x",
		"SOCKTALLY_RETENTION": "x",
	}
	_, err := Load(env.Lookup)
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	// SOCKTALLY_FORWARD is valid, so that the settings of the two sinks are checked.
	if len(lines) != len(env)-1 {
		t.Errorf("%d lines for %d faults:\n%v", len(lines), len(env)-1, err)
	}
	for name := range env {
		count := 0
		for _, line := range lines {
			if strings.HasPrefix(line, name+"=") || strings.HasPrefix(line, name+":") {
				count++
			}
		}
		if want := 1; name != "SOCKTALLY_FORWARD" && count != want {
			t.Errorf("%s is reported %d times, want %d", name, count, want)
		}
	}
	_, again := Load(env.Lookup)
	if again == nil || again.Error() != err.Error() {
		t.Errorf("the order of the faults changes:\n%v\n%v", err, again)
	}
}
