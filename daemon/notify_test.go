package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"socktally/config"
)

// TestServiceManager runs a daemon under a service manager's socket, with readings that hang: they read
// from a FIFO that nobody writes.
func TestServiceManager(t *testing.T) {
	const interval = 2 * time.Second
	socket := filepath.Join(t.TempDir(), "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(interval.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))

	// next returns the next message. It is "" if none comes in time.
	next := func(within time.Duration) string {
		t.Helper()
		if err := told.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		var buf [100]byte
		n, err := told.Read(buf[:])
		if err, ok := err.(net.Error); ok && err.Timeout() {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	const patience = 30 * time.Second
	f := newFixture(t, func(c *config.Config, _ *Options) {
		var err error
		if c.Schedule, err = config.ParseSchedule("@every 1s", time.Now()); err != nil {
			t.Fatal(err)
		}
	})

	release := f.hang(t)
	stop := f.run()
	if got := next(time.Second); got != "" {
		t.Errorf("told %q while the first reading hangs", got)
	}
	release()
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(patience); got != want {
			t.Fatalf("told %q, want %q", got, want)
		}
	}

	release = f.hang(t)
	silent := false
	for end := time.Now().Add(patience); !silent && time.Now().Before(end); {
		silent = next(2*interval) == ""
	}
	if !silent {
		t.Error("a reading hangs and life is still reported")
	}
	release()
	if got := next(patience); got != "WATCHDOG=1" {
		t.Errorf("told %q after the hang, want WATCHDOG=1", got)
	}

	if err := stop(); err != nil {
		t.Error(err)
	}
	last := ""
	for got := next(time.Second); got != ""; got = next(time.Second) {
		last = got
	}
	if last != "STOPPING=1" {
		t.Errorf("told %q last, want STOPPING=1", last)
	}
}

// hang makes readings hang, until the function that it returns is called.
func (f *fixture) hang(t *testing.T) (release func()) {
	t.Helper()
	fifo := f.sockstat + ".fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fifo, f.sockstat); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		w, err := os.OpenFile(f.sockstat, os.O_WRONLY, 0) // waits for the reading
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		whole := f.sockstat + ".whole"
		if err := os.WriteFile(whole, []byte(sockstat), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(whole, f.sockstat); err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(sockstat); err != nil {
			t.Fatal(err)
		}
	}
}
