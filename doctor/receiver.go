package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"time"

	"socktally/config"
)

// patience bounds each attempt to reach a receiver.
const patience = 5 * time.Second

// receivers tries where samples go, without sending any.
func (e *examination) receivers(ctx context.Context) {
	for _, sink := range e.Config.Forward {
		switch {
		case sink == config.SinkHTTP:
			e.intake(ctx)
		case sink == config.SinkStdout:
			e.ok("receiver", "the standard output")
		case e.Config.DogStatsD.Address.Network == "udp":
			e.udp(ctx)
		default:
			e.socket(ctx)
		}
	}
}

// socket connects to a unix socket of the kind that the address names, or of either.
func (e *examination) socket(ctx context.Context) {
	address := e.Config.DogStatsD.Address
	kinds := map[string][]string{"unixgram": {"unixgram"}, "unixstream": {"unix"}, "unix": {"unixgram", "unix"}}[address.Network]
	var err error
	for _, kind := range kinds {
		dialer := net.Dialer{Timeout: patience}
		var c net.Conn
		if c, err = dialer.DialContext(ctx, kind, address.Target); err == nil {
			c.Close()
			e.ok("receiver", address.String()+" takes connections")
			return
		}
	}
	e.find("receiver", Bad, fmt.Sprintf("%v: %v", address, err), "start the DogStatsD receiver, and let this user write to its socket")
}

// udp looks for a socket of this host at the receiver's address, as UDP itself does not answer.
func (e *examination) udp(ctx context.Context) {
	address := e.Config.DogStatsD.Address
	remote, err := resolve(ctx, address.Target)
	if err != nil {
		e.find("receiver", Bad, fmt.Sprintf("%v: %v", address, err), "correct DD_AGENT_HOST or DD_DOGSTATSD_URL")
		return
	}
	if !slices.ContainsFunc(remote, func(a netip.AddrPort) bool { return local(a.Addr()) }) {
		e.ok("receiver", address.String()+" is another host: by UDP nobody knows what arrives")
		return
	}
	var open []udpSocket
	for _, name := range []string{"net/udp", "net/udp6"} {
		text, err := os.ReadFile(e.ofProcess(name))
		if err != nil {
			continue // IPv6 is off
		}
		sockets, err := parseUDP(bytes.NewReader(text))
		if err != nil {
			e.find("receiver", Less, fmt.Sprintf("read %s: %v", e.ofProcess(name), err), "report this as a fault of socktally")
			continue
		}
		open = append(open, sockets...)
	}
	for _, a := range remote {
		for _, s := range open {
			if !s.takes(a) {
				continue
			}
			text := fmt.Sprintf("%v is open on this host and has dropped %d datagrams", address, s.drops)
			if s.drops > 0 {
				e.find("receiver", Less, text, "give the receiver a larger receive buffer (dogstatsd_so_rcvbuf of an Agent), or use a unix socket")
			} else {
				e.ok("receiver", text)
			}
			return
		}
	}
	e.find("receiver", Bad, address.String()+": no socket of this host listens there", "start the DogStatsD receiver, or set DD_AGENT_HOST, DD_DOGSTATSD_URL or SOCKTALLY_FORWARD")
}

// resolve returns the addresses that the sink may use: those of IPv4 if there are any.
func resolve(ctx context.Context, target string) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	number, err := net.LookupPort("udp", port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var all []netip.AddrPort
	for _, a := range addresses {
		all = append(all, netip.AddrPortFrom(a.Unmap(), uint16(number)))
	}
	if v4 := slices.DeleteFunc(slices.Clone(all), func(a netip.AddrPort) bool { return !a.Addr().Is4() }); len(v4) > 0 {
		return v4, nil
	}
	return all, nil
}

// local says whether an address is one of this host.
func local(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(o net.Addr) bool {
		p, err := netip.ParsePrefix(o.String())
		return err == nil && p.Addr().Unmap() == a.WithZone("")
	})
}

// proxyOfProcess is what HTTPS_PROXY of another process says. That of the own would be taken otherwise.
func (e *examination) proxyOfProcess(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" || e.Config.HTTP.Proxy == "" {
		return nil, nil
	}
	return url.Parse(string(e.Config.HTTP.Proxy))
}

// intake asks the intake whether it is there, and shows it the key only in a probe.
func (e *examination) intake(ctx context.Context) {
	key := string(e.Config.HTTP.APIKey)
	if !e.Probe {
		key = ""
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Config.HTTP.URL+"/api/v1/validate", nil)
	if err != nil {
		e.find("receiver", Bad, err.Error(), "correct SOCKTALLY_HTTP_URL")
		return
	}
	if key != "" {
		request.Header.Set("DD-API-KEY", key)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	if e.Process != "self" {
		transport.Proxy = e.proxyOfProcess
	}
	answer, err := transport.RoundTrip(request) // it follows no redirect with the key
	if err != nil {
		e.find("receiver", Bad, fmt.Sprintf("%s: %v", e.Config.HTTP.URL, err), "let this host reach it, or set SOCKTALLY_HTTP_URL, DD_SITE or HTTPS_PROXY")
		return
	}
	answer.Body.Close()
	e.ok("receiver", e.Config.HTTP.URL+" answers")
	switch {
	case e.Config.HTTP.APIKey == "":
		e.ok("key", "none: SOCKTALLY_HTTP_URL needs none, as far as socktally knows")
	case !e.Probe:
		e.ok("key", "set; --probe tries it")
	case answer.StatusCode == http.StatusOK:
		e.ok("key", "accepted")
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		e.find("key", Bad, "refused: "+answer.Status, "correct DD_API_KEY, or DD_SITE where the key is of another site")
	default:
		e.find("key", Less, "not known: the intake answers "+answer.Status, "correct SOCKTALLY_HTTP_URL, if samples do not arrive")
	}
}
