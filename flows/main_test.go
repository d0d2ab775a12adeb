package flows

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Tests start their own binary again as another kind of process.
const childEnv = "SOCKTALLY_TEST_CHILD"

var children = map[string]func(args []string) error{
	"hold":  childHold,
	"tally": childTally,
	"serve": childServe,
	"die":   childDie,
	"open":  childOpen,
	"send":  childSend,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child starts a process of one kind in the namespace. It ends with the test. The returned reader has its output.
func (ns *namespace) child(name string, files []*os.File, args ...string) (*exec.Cmd, *bufio.Reader) {
	ns.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = files
	in, err := cmd.StdinPipe()
	if err != nil {
		ns.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		ns.t.Fatal(err)
	}
	ns.do(cmd.Start)
	ns.t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewReader(out)
}

// childHold opens the given number of connections to itself and keeps them until its input ends.
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
	to := &unix.SockaddrInet4{Port: int(port(l)), Addr: [4]byte{127, 0, 0, 1}}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, to); err != nil {
			return err
		}
		if _, err := l.Accept(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(l)
	return err
}

// childTally counts as a daemon does, and prints its resident memory in KiB.
func childTally([]string) error {
	c, err := Open(Options{Mode: EBPF})
	if err != nil {
		return err
	}
	defer c.Close()
	for range 5 {
		if _, err := c.Tally(context.Background()); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Println(strings.Fields(rest)[0])
		}
	}
	return nil
}

// childServe accepts from an inherited listener, descriptor 3, and answers with the given number of bytes.
func childServe(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	exchange(l, int64(n))
	return nil
}

// childDie sends the given number of bytes and is killed while its connection is open.
func childDie(args []string) error {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	if _, err := io.CopyN(c, zeros{}, n); err != nil {
		return err
	}
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}
