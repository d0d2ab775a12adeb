package dogstatsd

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// payloadWriter takes whole payloads.
type payloadWriter interface {
	// writePayload writes p whole, or returns why not, by the deadline (none if zero).
	writePayload(p []byte, deadline time.Time) error
	io.Closer
}

// writer is a payloadWriter over something that is not a socket.
type writer struct{ w io.Writer }

func (w writer) writePayload(p []byte, _ time.Time) error {
	_, err := w.w.Write(p)
	return err
}

func (writer) Close() error { return nil }

// conn is a connection that is made when first needed and again after an error.
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
		// The next payload looks the address up again. Half a payload on a stream ends with it.
		_ = c.Close()
	}
	return err
}

func (c *conn) write(p []byte, deadline time.Time) error {
	if err := c.c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if c.stream {
		// The Agent's stream protocol puts the length before each payload.
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

// refused asks a UDP socket whether an ICMP error has come back. From this host it has, by the time
// that the write returns; from another host it may be the answer to an earlier payload.
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
		// A name of both families means IPv4, as to Datadog's own client: that is where most receivers
		// listen, and UDP does not say that nobody does on the other.
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
