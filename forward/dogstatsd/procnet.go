package dogstatsd

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// udpSocket is one line of /proc/net/udp or udp6.
type udpSocket struct {
	local netip.AddrPort
	drops uint64
}

// accepts says whether the socket receives datagrams to an address of this host.
func (s udpSocket) accepts(to netip.AddrPort) bool {
	at := s.local.Addr()
	return s.local.Port() == to.Port() && (at == to.Addr() || at.IsUnspecified() && (at.Is6() || to.Addr().Is4()))
}

// parseUDP parses /proc/net/udp or udp6. The first line is a heading.
func parseUDP(r io.Reader) ([]udpSocket, error) {
	var all []udpSocket
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		fields := strings.Fields(lines.Text())
		if number == 1 || len(fields) == 0 {
			continue
		}
		if len(fields) < 13 {
			return nil, fmt.Errorf("line %d: found %d fields, want 13", number, len(fields))
		}
		local, err := parseHexAddress(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		drops, err := strconv.ParseUint(fields[12], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: drops: %w", number, err)
		}
		all = append(all, udpSocket{local, drops})
	}
	return all, lines.Err()
}

// parseHexAddress parses an address such as 0100007F:1FBD: 32-bit words in the byte order of this machine, and a port.
func parseHexAddress(s string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q: want 8 or 32 hexadecimal digits and a port", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of %q: %w", s, err)
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}
