package flows

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"socktally/flows/coverage"
	"socktally/flows/trace"
	"socktally/internal/host"
	"socktally/record"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refused skips a test that this kernel does not allow. CI searches for this text: it requires that each test that is
// skipped in this way runs on another kernel. what is a program and where it attaches, or the like.
func refused(t testing.TB, what string, answer error) {
	t.Helper()
	t.Skipf("%s is refused by this kernel: %s: %v", t.Name(), what, answer)
}

// cgroup2 returns where the cgroup v2 hierarchy is mounted.
func cgroup2(t testing.TB) string {
	t.Helper()
	root := host.Reader{}.Cgroup2()
	if root == "" {
		refused(t, "cgroup v2", coverage.ErrNoCgroup2)
	}
	return root
}

// openFor opens a Counter, which is closed at the end of the test. It skips the test if the kernel does not allow the
// tracer.
func openFor(t testing.TB, o Options) *Counter {
	t.Helper()
	needPrivilege(t)
	c, err := Open(o)
	if isRefused(err) {
		refused(t, string(o.Mode), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantNoLoadError(t, c, o.loadFaults)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// isRefused says whether the kernel does not allow something at all. An error of the verifier is a fault in the program.
func isRefused(err error) bool {
	var refusal *coverage.LoadError
	return errors.As(err, &refusal) && (refusal.Reason != coverage.ReasonOther || errors.Is(err, unix.EPERM))
}

// wantNoLoadError fails the test if there is a fault in a program. It logs what the kernel does not allow at all: then the
// test runs with the next best way.
func wantNoLoadError(t testing.TB, c *Counter, forced trace.LoadFaults) {
	t.Helper()
	for _, cover := range c.Coverage() {
		for _, r := range cover.Errors {
			switch {
			case forced[r.Name] != nil || r.Reason == coverage.ReasonSockDiag || r.Reason == coverage.ReasonCgroup:
			case isRefused(r):
				t.Logf("this kernel does not allow %v", r)
			default:
				t.Errorf("%s: %v", cover.Part, r)
			}
		}
	}
}

// loadErrorOf is why a part is not counted in the best way, nil if it is.
func loadErrorOf(c *Counter, part coverage.Part) error {
	if cover := c.report.Of(part); cover != nil && len(cover.Errors) > 0 {
		return cover.Errors[0]
	}
	return nil
}

// openIn opens a Counter on a thread in the namespace.
func openIn(t testing.TB, ns *namespace, o Options) *Counter {
	t.Helper()
	var c *Counter
	var err error
	ns.do(func() error {
		c, err = Open(o)
		return nil
	})
	if isRefused(err) {
		refused(t, string(o.Mode), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantNoLoadError(t, c, o.loadFaults)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func port(l net.Listener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// exchange serves every connection: it reads up bytes, or to the end for up < 0, and answers down.
func exchange(l net.Listener, down int64) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(io.Discard, c)
			io.CopyN(c, zeros{}, down)
		}()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// tallyUntil tallies until the flows to the port have as many closed and failed connections as
// wanted, and returns the sum and the records.
func tallyUntil(t testing.TB, c *Counter, port uint16, ended uint64) (record.Counters, []record.Flow) {
	t.Helper()
	var sum record.Counters
	var records []record.Flow
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got, err := c.Tally(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if r.Server.Port == port {
				records = append(records, r)
				sum = plus(sum, r.Counters)
			}
		}
		if n := sum.Closed + sum.Refusals + sum.Timeouts + sum.Unreachables; n >= ended {
			return sum, records
		}
		if time.Now().After(deadline) {
			losses, err := c.Losses()
			t.Fatalf("port %d: want %d connections ended, got %+v; losses %+v, %v", port, ended, sum, losses, err)
		}
	}
}

func plus(a, b record.Counters) record.Counters {
	a.BytesSentByClient += b.BytesSentByClient
	a.BytesSentByServer += b.BytesSentByServer
	a.PacketsSentByClient += b.PacketsSentByClient
	a.PacketsSentByServer += b.PacketsSentByServer
	a.Retransmits += b.Retransmits
	a.Established += b.Established
	a.Closed += b.Closed
	a.Refusals += b.Refusals
	a.Resets += b.Resets
	a.Timeouts += b.Timeouts
	a.Unreachables += b.Unreachables
	return a
}

// outcome is the part of the counters that a test knows beforehand.
type outcome struct {
	Up, Down                                 uint64
	Established, Closed                      uint64
	Refusals, Resets, Timeouts, Unreachables uint64
}

func outcomeOf(c record.Counters) outcome {
	return outcome{c.BytesSentByClient, c.BytesSentByServer, c.Established, c.Closed,
		c.Refusals, c.Resets, c.Timeouts, c.Unreachables}
}

func wantOutcome(t testing.TB, got record.Counters, want outcome) {
	t.Helper()
	if o := outcomeOf(got); o != want {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
}

func wantNoLosses(t testing.TB, c *Counter) {
	t.Helper()
	if l, err := c.Losses(); err != nil || l != (coverage.Losses{}) {
		t.Errorf("losses %+v, %v", l, err)
	}
}

func addrPort(ip string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port).String()
}
