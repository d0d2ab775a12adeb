package dogstatsd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"socktally/internal/finding"
)

// probeTimeout is how long each attempt to reach a receiver may take.
const probeTimeout = 5 * time.Second

// Probe looks for a receiver at the address (see New) and sends nothing. A UDP receiver on this host is found in the list
// of sockets below processDir, the folder of a process in /proc.
func Probe(ctx context.Context, network, target, processDir string) finding.Finding {
	p := probe{address: network + "://" + target, target: target}
	if network == "udp" {
		return p.udp(ctx, processDir)
	}
	return p.socket(ctx, network)
}

type probe struct {
	address, target string
}

// finding makes a finding. text follows the address.
func (p probe) finding(state finding.State, text, remedy string) finding.Finding {
	return finding.Finding{Check: "receiver", State: state, Text: p.address + text, Remedy: remedy}
}

// socket connects to a unix socket. For the network "unix" it tries both kinds.
func (p probe) socket(ctx context.Context, network string) finding.Finding {
	kinds := map[string][]string{"unixgram": {"unixgram"}, "unixstream": {"unix"}, "unix": {"unixgram", "unix"}}[network]
	err := fmt.Errorf("unknown network %q", network)
	for _, kind := range kinds {
		dialer := net.Dialer{Timeout: probeTimeout}
		var c net.Conn
		if c, err = dialer.DialContext(ctx, kind, p.target); err == nil {
			c.Close()
			return p.finding(finding.OK, " takes connections", "")
		}
	}
	return p.finding(finding.Bad, fmt.Sprintf(": %v", err), "start the DogStatsD receiver, and let this user write to its socket")
}

// udp looks for a UDP socket on this host at the receiver's address, because a UDP receiver does not answer.
func (p probe) udp(ctx context.Context, processDir string) finding.Finding {
	remote, err := resolve(ctx, p.target)
	if err != nil {
		return p.finding(finding.Bad, fmt.Sprintf(": %v", err), "correct DD_AGENT_HOST or DD_DOGSTATSD_URL")
	}
	if !slices.ContainsFunc(remote, func(a netip.AddrPort) bool { return isLocal(a.Addr()) }) {
		return p.finding(finding.OK, " is another host: by UDP nobody knows what arrives", "")
	}
	open, err := udpSockets(processDir)
	if err != nil {
		return p.finding(finding.Less, fmt.Sprintf(": %v", err), "report this as a fault of socktally")
	}
	for _, a := range remote {
		for _, s := range open {
			if !s.accepts(a) {
				continue
			}
			text := fmt.Sprintf(" is open on this host and has dropped %d datagrams", s.drops)
			if s.drops > 0 {
				return p.finding(finding.Less, text, "give the receiver a larger receive buffer (dogstatsd_so_rcvbuf of an Agent), or use a unix socket")
			}
			return p.finding(finding.OK, text, "")
		}
	}
	return p.finding(finding.Bad, ": no socket of this host listens there", "start the DogStatsD receiver, or set DD_AGENT_HOST, DD_DOGSTATSD_URL or SOCKTALLY_FORWARD")
}

// udpSockets returns the UDP sockets in the network namespace of a process.
func udpSockets(processDir string) ([]udpSocket, error) {
	var open []udpSocket
	for _, name := range []string{"net/udp", "net/udp6"} {
		path := filepath.Join(processDir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			continue // IPv6 is off
		}
		sockets, err := parseUDP(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		open = append(open, sockets...)
	}
	return open, nil
}

// resolve returns the addresses that the sink may use: only IPv4 addresses if there are any.
func resolve(ctx context.Context, target string) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	number, err := net.LookupPort("udp", port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
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

// isLocal says whether an address belongs to this host.
func isLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addresses, func(o net.Addr) bool {
		p, err := netip.ParsePrefix(o.String())
		return err == nil && p.Addr().Unmap() == a.WithZone("")
	})
}
