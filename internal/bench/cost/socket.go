package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The loads make system calls directly. With the Go scheduler between, its time would be measured too, and that time is
// not the same in each round.

// transfer calls read or write. It is for sockets that block.
func transfer(call uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("transfer", errno)
		}
	}
}

func writeAll(fd int, b []byte) error {
	n, err := transfer(unix.SYS_WRITE, fd, b)
	if err == nil && n < len(b) {
		err = fmt.Errorf("write of %d bytes: only %d were taken", len(b), n)
	}
	return err
}

// readFull reads n bytes into b, again and again where b is smaller.
func readFull(fd int, b []byte, n int) error {
	for n > 0 {
		got, err := transfer(unix.SYS_READ, fd, b[:min(n, len(b))])
		if err != nil {
			return err
		}
		if got == 0 {
			return errors.New("read: the other end has closed")
		}
		n -= got
	}
	return nil
}

func closeSocket(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// address is a socket address as the kernel takes it.
type address struct{ raw unix.RawSockaddrInet4 }

func addressOf(ip string, port int) *address {
	a := &address{unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: netip.MustParseAddr(ip).As4()}}
	p := (*[2]byte)(unsafe.Pointer(&a.raw.Port))
	p[0], p[1] = byte(port>>8), byte(port)
	return a
}

func connectTo(fd int, to *address) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to.raw)), unix.SizeofSockaddrInet4); errno != 0 {
		return os.NewSyscallError("connect", errno)
	}
	return nil
}

func acceptFrom(listener int) (int, error) {
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, os.NewSyscallError("accept", errno)
	}
	return int(fd), nil
}

func newSocket(kind int) (int, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, uintptr(kind), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("socket", errno)
	}
	return int(fd), nil
}

// listenAt returns a listener, or for SOCK_DGRAM a socket, at a port of ip: any where it is 0.
func listenAt(ns *namespace, kind int, ip string, port int) (fd int, at *address, err error) {
	err = ns.do(func() error {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(ip).As4()}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		if kind == unix.SOCK_STREAM {
			if err := unix.Listen(fd, 128); err != nil {
				return os.NewSyscallError("listen", err)
			}
		}
		bound, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		at = addressOf(ip, bound.(*unix.SockaddrInet4).Port)
		return nil
	})
	return fd, at, err
}

// pair returns two connected TCP sockets, of the client's namespace and the server's.
func (l *lab) pair() (client, server int, err error) {
	listener, at, err := listenAt(l.server, unix.SOCK_STREAM, serverIP, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(listener)
	err = l.worker.do(func() error {
		if client, err = newSocket(unix.SOCK_STREAM | unix.SOCK_CLOEXEC); err != nil {
			return err
		}
		if err := connectTo(client, at); err != nil {
			return err
		}
		server, err = acceptFrom(listener)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	for _, fd := range []int{client, server} {
		unix.CloseOnExec(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return 0, 0, os.NewSyscallError("setsockopt TCP_NODELAY", err)
		}
	}
	return client, server, nil
}

// datagrams returns a client's UDP socket, connected to a server's at a port of its, 0 for any. The server's
// answers to where connectBack says.
func (l *lab) datagrams(port int) (client, server int, err error) {
	server, at, err := listenAt(l.server, unix.SOCK_DGRAM, serverIP, port)
	if err != nil {
		return 0, 0, err
	}
	client, from, err := listenAt(l.client, unix.SOCK_DGRAM, clientIP, 0)
	if err != nil {
		return 0, 0, err
	}
	if err := connectTo(client, at); err != nil {
		return 0, 0, err
	}
	return client, server, connectTo(server, from)
}
