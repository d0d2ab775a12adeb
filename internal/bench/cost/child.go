package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// childEnv is set if the command has started itself again. Its value says what this process has to do.
const childEnv = "SOCKTALLY_BENCH_CHILD"

var children = map[string]func(args []string) error{"echo": childEcho, "hold": childHold}

// helper is a process that this command started. It ends when its input is closed.
type helper struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

// startChild starts a process of a kind. The process gets the namespace and the CPU of the caller's thread, and files as
// its descriptors from 3 on. startChild returns when the process says that it is ready.
func startChild(kind string, files []*os.File, args ...string) (*helper, error) {
	cmd := exec.Command(os.Args[0], args...)
	// Without preemption no signal of the Go runtime disturbs a loop.
	cmd.Env = []string{childEnv + "=" + kind, "GODEBUG=asyncpreemptoff=1", "GOGC=off"}
	cmd.ExtraFiles, cmd.Stderr = files, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &helper{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if _, err := p.out.ReadString('\n'); err != nil {
		p.end()
		return nil, fmt.Errorf("start a child that is to %s: it ended: %w", kind, err)
	}
	return p, nil
}

func (p *helper) end() {
	p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func ready() { fmt.Println("ready") }

// endWithInput ends this process when whoever started it closes its input, or ends.
func endWithInput() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// childEcho answers each byte that descriptor 3, a socket, receives.
func childEcho([]string) error {
	go endWithInput()
	runtime.LockOSThread()
	ready()
	var b [1]byte
	for {
		if n, err := transfer(unix.SYS_READ, 3, b[:]); n < 1 {
			return err
		}
		if _, err := transfer(unix.SYS_WRITE, 3, b[:]); err != nil {
			return err
		}
	}
}

// childHold keeps as many connections to itself open as it is told.
func childHold(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	listener := net.ListenConfig{}
	listener.SetMultipathTCP(false)
	l, err := listener.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, to); err != nil {
			return err
		}
		for {
			if _, _, err = unix.Accept(int(file.Fd())); !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	ready()
	endWithInput()
	runtime.KeepAlive(file)
	return nil
}
