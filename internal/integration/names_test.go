package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// namedAddress is the answer to every query for a name that does not begin with "no".
const namedAddress = "127.0.0.77"

// talkerNames serves DNS: one address for every name, and NXDOMAIN for those that begin with "no".
func talkerNames(address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	fmt.Println(c.LocalAddr())
	query := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(query)
		if err != nil {
			return err
		}
		if answer := answerTo(query[:n]); answer != nil {
			if _, err := c.WriteTo(answer, from); err != nil {
				return err
			}
		}
	}
}

func answerTo(query []byte) []byte {
	const header = 12
	end := bytes.IndexByte(query[min(header, len(query)):], 0)
	question := header + end + 5 // with type and class
	if end < 1 || len(query) < question {
		return nil
	}
	answer := bytes.Clone(query[:question])
	answer[2] |= 0x80 // a response
	copy(answer[6:header], make([]byte, 6))
	switch {
	case bytes.HasPrefix(query[header+1:], []byte("no")):
		answer[3] = 3 // NXDOMAIN
	case query[question-3] == 1: // A
		answer[7] = 1
		answer = append(answer, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		answer = append(answer, net.ParseIP(namedAddress).To4()...)
	}
	return answer
}

// talkerAsk asks for the IPv4 addresses of a name, so many times.
func talkerAsk(address, name, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	for range n {
		_, err := resolver.LookupNetIP(context.Background(), "ip4", name+".")
		var refused *net.DNSError
		if err != nil && (!errors.As(err, &refused) || !refused.IsNotFound) {
			return err
		}
	}
	fmt.Println("done")
	return nil
}
