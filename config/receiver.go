package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Address is where a DogStatsD receiver listens.
type Address struct {
	// Network is udp, unixgram, unixstream, or unix for a unix socket of either kind.
	Network string
	// Target is host:port, with brackets around an IPv6 address, or the path of a socket.
	Target string
}

// String returns the address as DD_DOGSTATSD_URL is written.
func (a Address) String() string { return a.Network + "://" + a.Target }

const dogStatsDPort = "8125"

func (c *checker) dogStatsD() DogStatsD {
	given := c.given("DD_DOGSTATSD_URL")
	if given == "" {
		host, port := c.value("DD_AGENT_HOST"), c.value("DD_DOGSTATSD_PORT")
		if !validPort(port) {
			c.fault("DD_DOGSTATSD_PORT", port, "want a port from 1 to 65535")
		}
		if !validHost(unbracket(host)) {
			c.fault("DD_AGENT_HOST", host, "want a host name or an IP address; the port is DD_DOGSTATSD_PORT, a socket is DD_DOGSTATSD_URL")
		}
		return DogStatsD{Address{"udp", net.JoinHostPort(withoutLookup(unbracket(host)), port)}}
	}
	var conflicts []string
	for _, name := range []string{"DD_AGENT_HOST", "DD_DOGSTATSD_PORT"} {
		if c.given(name) != "" {
			conflicts = append(conflicts, name)
		}
	}
	if len(conflicts) > 0 {
		c.fault("DD_DOGSTATSD_URL", given, "stands beside %s: want either the URL or host and port", strings.Join(conflicts, " and "))
	}
	network, target, _ := strings.Cut(given, "://")
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
		c.fault("DD_DOGSTATSD_URL", given, "%w", err)
	}
	return DogStatsD{address}
}

func udpTarget(target string) (string, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		host, port = unbracket(target), dogStatsDPort
		if host == target && strings.Contains(host, ":") {
			// Without brackets, ::1:8125 is a valid IPv6 address, but probably not the one that was meant.
			host = ""
		}
	}
	if !validHost(host) {
		return "", errors.New("want udp://host:port, with an IPv6 address in brackets: udp://[::1]:8125")
	}
	if !validPort(port) {
		return "", fmt.Errorf("port %q: want 1 to 65535", port)
	}
	return net.JoinHostPort(withoutLookup(host), port), nil
}

// checkSocket rejects a path that cannot be a unix socket. It is no error if nothing exists at the path: the receiver may
// start later.
func checkSocket(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("want an absolute path: unix:///path")
	}
	// sockaddr_un has room for 107 bytes and the final zero.
	if len(path) > 107 {
		return fmt.Errorf("the path is %d bytes long, the kernel takes 107", len(path))
	}
	info, err := os.Stat(path)
	switch {
	case err != nil || info.Mode()&os.ModeSocket != 0:
		return nil
	case info.IsDir():
		return errors.New("this is a directory, want the path of a socket")
	default:
		return errors.New("this is a file, want the path of a socket")
	}
}

func (c *checker) http() HTTP { return HTTP{URL: c.httpURL(), APIKey: c.apiKey(), Proxy: c.proxy()} }

func (c *checker) httpURL() string {
	given := c.given("SOCKTALLY_HTTP_URL")
	if given == "" {
		site := c.value("DD_SITE")
		if !validHost(site) || strings.Contains(site, ":") {
			c.fault("DD_SITE", site, "want a domain such as datadoghq.com or datadoghq.eu")
		}
		return "https://api." + site
	}
	if err := checkHTTPURL(given); err != nil {
		shown := given
		if strings.ContainsAny(shown, "@?#") {
			// There may be a password or a key in it.
			shown = redacted
		}
		c.fault("SOCKTALLY_HTTP_URL", shown, "%w: want http:// or https://, a host and perhaps a port and a path", err)
	}
	return strings.TrimRight(given, "/")
}

// checkHTTPURL checks a URL. Its errors show no part of a user, query or fragment.
func checkHTTPURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case strings.ContainsAny(s, "?#"):
		return errors.New("a query or fragment may not stand in it")
	case err == nil && u.User != nil, err != nil && strings.Contains(s, "@"):
		return errors.New("a user or password may not stand in it")
	case err != nil:
		return errors.Unwrap(err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q", u.Scheme)
	case !validHost(u.Hostname()):
		return fmt.Errorf("host %q", u.Hostname())
	case u.Port() != "" && !validPort(u.Port()):
		return fmt.Errorf("port %q is not 1 to 65535", u.Port())
	}
	return nil
}

// proxy checks a variable that net/http reads itself. The errors of net/http would show a password at each request.
func (c *checker) proxy() Secret {
	value := c.value("HTTPS_PROXY")
	if value == "" {
		return ""
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value // as net/http does
	}
	u, err := url.Parse(value)
	if err != nil || !validHost(u.Hostname()) || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		c.hiddenFault("HTTPS_PROXY", "want http://host:port, or https, socks5 or socks5h")
	}
	return Secret(value)
}

func (c *checker) apiKey() Secret {
	key := c.value("DD_API_KEY")
	switch {
	case key == "" && c.given("SOCKTALLY_HTTP_URL") == "":
		c.faults = append(c.faults, errors.New("DD_API_KEY is not set: the sink http needs a key, or an intake of your own in SOCKTALLY_HTTP_URL"))
	case strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) || r == ' ' }):
		c.hiddenFault("DD_API_KEY", "want printable ASCII characters without spaces")
	}
	return Secret(key)
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// validHost accepts an IP address, perhaps with a zone, or a host name.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s != "" && len(s) <= 253 && s[0] != '.' && s[0] != '-' && s[len(s)-1] != '-' &&
		!strings.ContainsFunc(s, func(r rune) bool { return !isNameRune(r) && r != '.' && r != '-' })
}

// isNameRune says whether r is an ASCII letter, a digit or _. Regular expressions are not used for this, because they would
// be compiled at each start.
func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
}

// isLocalhost recognises the name localhost (RFC 6761, section 6.3).
func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// withoutLookup returns 127.0.0.1 for localhost, and any other host as it is. A container image FROM scratch may have no
// /etc/hosts, and a name server must not be asked for this name.
func withoutLookup(host string) string {
	if isLocalhost(host) {
		return "127.0.0.1"
	}
	return host
}

// unbracket removes the brackets of an IPv6 address.
func unbracket(s string) string {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return s[1 : len(s)-1]
	}
	return s
}
