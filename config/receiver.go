package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Address is where a DogStatsD receiver listens.
type Address struct {
	// Network is udp, unixgram, unixstream, or unix where the socket itself tells which of the two.
	Network string
	// Target is host:port, with brackets around an IPv6 address, or the path of a socket.
	Target string
}

// String returns the address as DD_DOGSTATSD_URL is written.
func (a Address) String() string { return a.Network + "://" + a.Target }

const dogStatsDPort = "8125"

func (c *checker) dogStatsDAddress(v variables) Address {
	if v.DogStatsDURL == "" {
		c.port("DD_DOGSTATSD_PORT", v.DogStatsDPort)
		host := unbracket(v.AgentHost)
		if !validHost(host) {
			c.fault("DD_AGENT_HOST", v.AgentHost, "want a host name or an IP address; the port is DD_DOGSTATSD_PORT, a socket is DD_DOGSTATSD_URL")
		}
		return Address{"udp", net.JoinHostPort(host, v.DogStatsDPort)}
	}
	for _, name := range []string{"DD_AGENT_HOST", "DD_DOGSTATSD_PORT"} {
		if os.Getenv(name) != "" {
			c.fault("DD_DOGSTATSD_URL", v.DogStatsDURL, "%s is set too: set one of the two", name)
		}
	}
	network, target, _ := strings.Cut(v.DogStatsDURL, "://")
	address := Address{network, target}
	var err error
	switch network {
	case "udp":
		address.Target, err = udpTarget(target)
	case "unix", "unixgram", "unixstream":
		err = checkSocket(target)
	default:
		err = errors.New("want udp://host:port, unix:///path, unixgram:///path or unixstream:///path")
	}
	if err != nil {
		c.fault("DD_DOGSTATSD_URL", v.DogStatsDURL, "%w", err)
	}
	return address
}

func udpTarget(target string) (string, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		host, port = unbracket(target), dogStatsDPort
	}
	if !validHost(host) {
		return "", errors.New("want udp://host:port, with an IPv6 address in brackets: udp://[::1]:8125")
	}
	if !validPort(port) {
		return "", fmt.Errorf("port %q: want 1 to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}

// checkSocket refuses a path that can never become a socket. A path where nothing is yet is fine:
// the receiver may start later.
func checkSocket(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("want an absolute path: unix:///path")
	}
	// sockaddr_un holds 107 bytes and a zero.
	if len(path) > 107 {
		return fmt.Errorf("the path is %d bytes long, the kernel takes 107", len(path))
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is not a socket (%s)", path, info.Mode())
	}
	return nil
}

func (c *checker) httpURL(v variables) string {
	if v.HTTPURL == "" {
		if !validHost(v.Site) || strings.Contains(v.Site, ":") {
			c.fault("DD_SITE", v.Site, "want a domain such as datadoghq.com or datadoghq.eu")
		}
		return "https://api." + v.Site
	}
	u, err := url.Parse(v.HTTPURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || !validHost(u.Hostname()) || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		// A password in the URL must not be shown.
		shown := v.HTTPURL
		if strings.Contains(shown, "@") {
			shown = "[redacted]"
		}
		c.fault("SOCKTALLY_HTTP_URL", shown, "want http:// or https://, a host and perhaps a port and a path, no user, query or fragment")
	case u.Port() != "" && !validPort(u.Port()):
		c.fault("SOCKTALLY_HTTP_URL", v.HTTPURL, "port %q: want 1 to 65535", u.Port())
	}
	return strings.TrimRight(v.HTTPURL, "/")
}

func (c *checker) apiKey(v variables) Secret {
	switch {
	case v.APIKey == "" && v.HTTPURL == "":
		c.faults = append(c.faults, errors.New("DD_API_KEY is not set: the sink http needs a key, or an intake of your own in SOCKTALLY_HTTP_URL"))
	case strings.ContainsFunc(v.APIKey, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) || r == ' ' }):
		c.faults = append(c.faults, errors.New("DD_API_KEY: want printable ASCII characters without spaces (its value is not shown)"))
	}
	return Secret(v.APIKey)
}

func (c *checker) port(name, value string) {
	if !validPort(value) {
		c.fault(name, value, "want a port from 1 to 65535")
	}
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// validHost accepts an IP address, perhaps with a zone, or a host name.
func validHost(s string) bool {
	address, zone, hasZone := strings.Cut(s, "%")
	if ip := net.ParseIP(address); ip != nil {
		return !hasZone || zone != ""
	}
	return len(s) <= 253 && hostName.MatchString(s)
}

// unbracket takes the brackets off an IPv6 address.
func unbracket(s string) string {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		return strings.TrimSuffix(inner, "]")
	}
	return s
}
