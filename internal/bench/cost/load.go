package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// A load does the same operation over and over. It is made once and run for each round.
type load struct {
	// run does n operations, on the thread of the lab's worker.
	run func(n int) error
	// latencies returns the time of each operation of the last run, in nanoseconds. It is nil if that is not measured.
	latencies func() []float64
	// did returns the number of operations of the last run. It is nil if run does exactly the given number.
	did   func() int
	close func()
}

const small = 128

// newBulk writes and reads 64 KiB at a time over one connection. Here and in most other loads, client and server are the
// same thread, so that no time passes until another thread is scheduled.
func newBulk(l *lab) (*load, error) { return newStream(l, 64<<10) }

func newSmallWrites(l *lab) (*load, error) { return newStream(l, small) }

func newStream(l *lab, size int) (*load, error) {
	client, server, err := l.pair()
	if err != nil {
		return nil, err
	}
	for _, option := range []int{unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE} {
		for _, fd := range []int{client, server} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 4<<20); err != nil {
				return nil, os.NewSyscallError("setsockopt", err)
			}
		}
	}
	buffer := make([]byte, size)
	return &load{
		run: func(n int) error {
			for range n {
				if err := writeAll(client, buffer); err != nil {
					return err
				}
				if err := readFull(server, buffer, size); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() { unix.Close(client); unix.Close(server) },
	}, nil
}

// newPingPong sends one byte to a process on the same CPU, which answers it.
func newPingPong(l *lab) (*load, error) {
	client, server, err := l.pair()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(server), "server")
	var echo *helper
	err = l.worker.do(func() (err error) {
		echo, err = startChild("echo", []*os.File{file})
		return err
	})
	file.Close()
	if err != nil {
		return nil, err
	}
	took := make([]float64, 0, 1<<20)
	var b [1]byte
	return &load{
		run: func(n int) error {
			took = took[:0]
			begin := time.Now()
			last := time.Duration(0)
			for range n {
				if err := writeAll(client, b[:]); err != nil {
					return err
				}
				if err := readFull(client, b[:], 1); err != nil {
					return err
				}
				now := time.Since(begin)
				if len(took) < cap(took) {
					took = append(took, float64(now-last))
				}
				last = now
			}
			return nil
		},
		latencies: func() []float64 { return took },
		close:     func() { unix.Close(client); echo.end() },
	}, nil
}

// newLoopback connects, sends one byte, receives one, and closes, all in the client's namespace.
func newLoopback(l *lab) (*load, error) { return newConnections(l.client, "127.0.0.1") }

// newVeth does the same with a server in another namespace.
func newVeth(l *lab) (*load, error) { return newConnections(l.server, serverIP) }

func newConnections(of *namespace, ip string) (*load, error) {
	listener, at, err := listenAt(of, unix.SOCK_STREAM, ip, 0)
	if err != nil {
		return nil, err
	}
	return &load{
		run: func(n int) error {
			for range n {
				if err := connection(listener, at); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() { unix.Close(listener) },
	}, nil
}

func connection(listener int, at *address) error {
	client, err := newSocket(unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer closeSocket(client)
	if err := connectTo(client, at); err != nil {
		return err
	}
	server, err := acceptFrom(listener)
	if err != nil {
		return err
	}
	var b [1]byte
	err = writeAll(client, b[:])
	if err == nil {
		err = readFull(server, b[:], 1)
	}
	if err == nil {
		err = writeAll(server, b[:])
	}
	closeSocket(server) // first, as a server of HTTP does
	if err != nil {
		return err
	}
	if err := readFull(client, b[:], 1); err != nil {
		return err
	}
	n, err := transfer(unix.SYS_READ, client, b[:])
	if err == nil && n != 0 {
		err = fmt.Errorf("read: %d bytes where the other end has closed", n)
	}
	return err
}

// newDatagrams sends 100 bytes and receives them.
func newDatagrams(l *lab) (*load, error) {
	client, server, err := l.datagrams(0)
	if err != nil {
		return nil, err
	}
	return sendAndReceive(client, server, make([]byte, 100), make([]byte, 2048)), nil
}

// sendAndReceive sends out and receives it into in, again and again.
func sendAndReceive(client, server int, out, in []byte) *load {
	return &load{
		run: func(n int) error {
			for range n {
				if err := writeAll(client, out); err != nil {
					return err
				}
				if err := readFull(server, in, len(out)); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() { unix.Close(client); unix.Close(server) },
	}
}

// segments is how many datagrams one buffer has. The kernel makes one packet of each.
const segments, segment = 40, 1200

// newSegmented sends and receives many datagrams as one buffer (UDP_SEGMENT, UDP_GRO).
func newSegmented(l *lab) (*load, error) {
	client, server, err := l.datagrams(0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(client, unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment); err != nil {
		return nil, os.NewSyscallError("setsockopt UDP_SEGMENT", err)
	}
	if err := unix.SetsockoptInt(server, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt UDP_GRO", err)
	}
	return sendAndReceive(client, server, make([]byte, segments*segment), make([]byte, 64<<10)), nil
}

// The pace of DNS: a burst each millisecond makes 20,000 queries a second.
const dnsBurst = 20

// newDNS asks for one of 200 names, and answers.
func newDNS(l *lab) (*load, error) {
	client, server, err := l.datagrams(53)
	if err != nil {
		return nil, err
	}
	var queries, answers [200][]byte
	for i := range queries {
		if queries[i], err = message(i, false); err != nil {
			return nil, err
		}
		if answers[i], err = message(i, true); err != nil {
			return nil, err
		}
	}
	buffer := make([]byte, 512)
	id := uint16(0)
	ask := func() error {
		id++
		query, answer := queries[int(id)%len(queries)], answers[int(id)%len(queries)]
		query[0], query[1] = byte(id>>8), byte(id)
		answer[0], answer[1] = query[0], query[1]
		if err := writeAll(client, query); err != nil {
			return err
		}
		if err := readFull(server, buffer, len(query)); err != nil {
			return err
		}
		if err := writeAll(server, answer); err != nil {
			return err
		}
		return readFull(client, buffer, len(answer))
	}
	return &load{
		run: func(n int) error {
			next := time.Now()
			for i := range n {
				if i%dnsBurst == 0 {
					time.Sleep(time.Until(next))
					next = next.Add(time.Millisecond)
				}
				if err := ask(); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() { unix.Close(client); unix.Close(server) },
	}, nil
}

func message(i int, answer bool) ([]byte, error) {
	name, err := dnsmessage.NewName("host" + strconv.Itoa(i) + ".bench.invalid.")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true, Response: answer},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	if answer {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, byte(i)}},
		}}
	}
	return m.Pack()
}
