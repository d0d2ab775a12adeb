package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// API has the settings of the read API and its store.
type API struct {
	// Listen is the address of the API. Network is tcp or unix. It is "" if there is no API and no store.
	Listen Address
	// Loopback says that the address is TCP and only this host can reach it.
	Loopback bool
	// Keys are the accepted keys. A query needs one of them, unless there are none.
	Keys []Secret
	// TLSCert and TLSKey are the files of a certificate and its key. tls.LoadX509KeyPair can read them. Both are "" for
	// plain HTTP.
	TLSCert, TLSKey string
	// Retention is how long the store keeps records.
	Retention time.Duration
}

// TLSProxy is the value of SOCKTALLY_TLS for an API behind a proxy that uses TLS.
const TLSProxy = "proxy"

// minKey is the least length of a key of the API.
const minKey = 16

func (c *checker) api() API {
	a := API{
		TLSCert:   c.value("SOCKTALLY_TLS_CERT"),
		TLSKey:    c.value("SOCKTALLY_TLS_KEY"),
		Retention: c.duration("SOCKTALLY_RETENTION", 5*time.Minute),
	}
	for key := range strings.SplitSeq(c.value("SOCKTALLY_API_KEYS"), ",") {
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if len(key) < minKey || strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) || r == ' ' }) {
			c.hiddenFault("SOCKTALLY_API_KEYS", fmt.Sprintf("want a comma list of keys, each of %d or more printable ASCII characters", minKey))
			break
		}
		a.Keys = append(a.Keys, Secret(key))
	}
	proxy := c.given("SOCKTALLY_TLS")
	if proxy != "" {
		c.oneOf("SOCKTALLY_TLS", TLSProxy)
	}
	if a.TLSCert != "" || a.TLSKey != "" {
		// The files are also read if there is no address for the API, so that a fault is found early.
		if _, err := tls.LoadX509KeyPair(a.TLSCert, a.TLSKey); err != nil {
			c.fault("SOCKTALLY_TLS_CERT", a.TLSCert, "with SOCKTALLY_TLS_KEY=%q: %w: want two files, of a certificate chain and its key, in PEM", a.TLSKey, err)
		}
	}
	listen := c.value("SOCKTALLY_LISTEN")
	if listen == "" {
		return a
	}
	var err error
	if a.Listen, a.Loopback, err = ParseListen(listen); err != nil {
		c.fault("SOCKTALLY_LISTEN", listen, "%w", err)
		return a
	}
	if a.Listen.Network != "tcp" {
		return a
	}
	if host, port, err := net.SplitHostPort(a.Listen.Target); err == nil {
		a.Listen.Target = net.JoinHostPort(withoutLookup(host), port)
	}
	if a.Loopback {
		return a
	}
	if len(a.Keys) == 0 {
		c.fault("SOCKTALLY_LISTEN", listen, "other hosts can reach this address: want SOCKTALLY_API_KEYS with it, or a loopback address")
	}
	if a.TLSCert == "" && a.TLSKey == "" && proxy != TLSProxy {
		c.fault("SOCKTALLY_LISTEN", listen, "other hosts can reach this address: want SOCKTALLY_TLS_CERT and SOCKTALLY_TLS_KEY with it, or SOCKTALLY_TLS=%s where a proxy in front speaks TLS", TLSProxy)
	}
	return a
}

// ParseListen parses the address of the API, "host:port" or "unix:///path". loopback says that it is a TCP address that only
// this host can reach. Port 0 is any free port.
func ParseListen(text string) (a Address, loopback bool, err error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok {
		return Address{"unix", path}, false, checkSocket(path)
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return a, false, errors.New("want host:port, with an IPv6 address in brackets, or unix:///path")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return a, false, fmt.Errorf("port %q: want 0 to 65535", port)
	}
	if host != "" && !validHost(host) {
		return a, false, fmt.Errorf("host %q: want a host name or an IP address", host)
	}
	addr, err := netip.ParseAddr(host)
	loopback = err == nil && addr.Unmap().IsLoopback() || isLocalhost(host)
	return Address{"tcp", net.JoinHostPort(host, port)}, loopback, nil
}
