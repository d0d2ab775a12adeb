package flows

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is the limit of every wait in these tests. It is long: it must not end only because the machine is busy.
const patience = time.Minute

// await waits until check returns nil.
func await(t testing.TB, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %v", patience, err)
		}
	}
}

// States of a TCP socket, as the kernel's table writes them.
const (
	stateTimeWait = "06"
	stateListen   = "0A"
)

// states are the states of the TCP sockets in the namespace that have the port at either end.
func (ns *namespace) states(port uint16) []string {
	ns.t.Helper()
	var all []byte
	ns.do(func() error {
		for _, name := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			all = append(all, text...)
		}
		return nil
	})
	var states []string
	end := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(bytes.NewReader(all)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if strings.HasSuffix(fields[1], end) || strings.HasSuffix(fields[2], end) {
			states = append(states, fields[3])
		}
	}
	return states
}

// awaitListener waits until somebody listens at the port.
func (ns *namespace) awaitListener(port uint16) {
	ns.t.Helper()
	await(ns.t, func() error {
		if states := ns.states(port); !slices.Contains(states, stateListen) {
			return fmt.Errorf("nobody listens at port %d: states %q", port, states)
		}
		return nil
	})
}

// awaitEnd waits until no connection of the port has an end in the namespace that can still change the counts.
func (ns *namespace) awaitEnd(port uint16) {
	ns.t.Helper()
	await(ns.t, func() error {
		for _, state := range ns.states(port) {
			if state != stateListen && state != stateTimeWait {
				return fmt.Errorf("port %d has a connection in state %s", port, state)
			}
		}
		return nil
	})
}

// awaitQueue waits until so many bytes are in a queue of the socket. unix.SIOCINQ is the queue of received bytes that are
// not read yet, unix.SIOCOUTQ that of sent bytes that are not acknowledged yet.
func awaitQueue(t testing.TB, c net.Conn, queue uint, want int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		var got int
		var failed error
		if err := raw.Control(func(fd uintptr) { got, failed = unix.IoctlGetInt(int(fd), queue) }); err != nil {
			return err
		}
		if failed == nil && got != want {
			failed = fmt.Errorf("%d bytes wait in the queue, want %d", got, want)
		}
		return failed
	})
}
