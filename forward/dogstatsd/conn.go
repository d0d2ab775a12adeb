package dogstatsd

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// payloadWriter writes whole payloads.
type payloadWriter interface {
	// writePayload writes all of p or returns an error, before the deadline (none if zero).
	writePayload(p []byte, deadline time.Time) error
	io.Closer
}

// writer is a payloadWriter for any io.Writer.
type writer struct{ w io.Writer }

func (w writer) writePayload(p []byte, _ time.Time) error {
	_, err := w.w.Write(p)
	return err
}

func (writer) Close() error { return nil }

// conn is a connection. It is opened when it is first needed, and again after an error.
type conn struct {
	network, target string
	c               net.Conn
	stream          bool
	buf             []byte
}

func (c *conn) writePayload(p []byte, deadline time.Time) error {
	if c.c == nil {
		if err := c.dial(deadline); err != nil {
			return err
		}
	}
	err := c.write(p, deadline)
	if err != nil {
		// The next payload opens a new connection, with a new lookup of the address. On a stream, the receiver
		// ignores half a payload when the connection is closed.
		_ = c.Close()
	}
	return err
}

func (c *conn) write(p []byte, deadline time.Time) error {
	if err := c.c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if c.stream {
		// In the Agent's protocol for streams, the length comes before each payload.
		c.buf = binary.LittleEndian.AppendUint32(c.buf[:0], uint32(len(p)))
		p = append(c.buf, p...)
		c.buf = p
	}
	if _, err := c.c.Write(p); err != nil {
		return err
	}
	if udp, ok := c.c.(*net.UDPConn); ok {
		return pendingError(udp)
	}
	return nil
}

// pendingError returns the pending error of a UDP socket (SO_ERROR), which an ICMP error message sets. If the receiver is
// on this host, that happens before the write returns. If it is on another host, the error may belong to an earlier
// payload.
func pendingError(udp *net.UDPConn) error {
	raw, err := udp.SyscallConn()
	if err != nil {
		return err
	}
	var errno int
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		errno, sockErr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	}); err != nil {
		return err
	}
	if sockErr == nil && errno != 0 {
		return &net.OpError{Op: "write", Net: "udp", Addr: udp.RemoteAddr(), Err: syscall.Errno(errno)}
	}
	return sockErr
}

func (c *conn) dial(deadline time.Time) error {
	d := net.Dialer{Deadline: deadline}
	network := c.network
	switch network {
	case "unixstream":
		network = "unix"
	case "unix":
		network = "unixgram"
	case "udp":
		// If a name has IPv4 and IPv6 addresses, IPv4 is used, as in Datadog's client: most receivers listen only
		// there, and with UDP it would not be noticed that nobody listens on the IPv6 address.
		network = "udp4"
	}
	nc, err := d.Dial(network, c.target)
	if c.network == "udp" && err != nil {
		nc, err = d.Dial(c.network, c.target)
	}
	if c.network == "unix" && errors.Is(err, syscall.EPROTOTYPE) {
		network = "unix"
		nc, err = d.Dial(network, c.target)
	}
	if err != nil {
		return err
	}
	c.c, c.stream = nc, network == "unix"
	return nil
}

func (c *conn) Close() error {
	if c.c == nil {
		return nil
	}
	err := c.c.Close()
	c.c = nil
	return err
}
