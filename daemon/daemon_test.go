package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"socktally/config"
	"socktally/metric"
)

const sockstat = "sockets: used 12\nTCP: inuse 3 orphan 0 tw 1 alloc 5 mem 2\n"

// output is a writer that several goroutines share.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the lines that hold part.
func (o *output) lines(part string) []string {
	var found []string
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, part) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// fixture is a daemon over a proc file system that the test can change.
type fixture struct {
	daemon   *Daemon
	sockstat string // its path
	out, log output
}

// newFixture makes a daemon that writes to f.out, with an option for the test's own.
func newFixture(t *testing.T, change func(*config.Config, *Options)) *fixture {
	t.Helper()
	root := t.TempDir()
	f := &fixture{sockstat: filepath.Join(root, "self/net/sockstat")}
	if err := os.MkdirAll(filepath.Dir(f.sockstat), 0o755); err != nil {
		t.Fatal(err)
	}
	f.write(t, sockstat)
	schedule, err := config.ParseSchedule("@every 15s", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{Forward: []string{"stdout"}, Schedule: schedule, Scope: metric.Host, Hostname: "db-1", Flows: config.Flows{Mode: "off"}}
	o := Options{ProcRoot: root, Stdout: &f.out, Version: "test"}
	if change != nil {
		change(&cfg, &o)
	}
	if f.daemon, err = New(cfg, slog.New(slog.NewTextHandler(&f.log, nil)), o); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(f.sockstat, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs the daemon until the function that it returns is called, which returns Run's error.
func (f *fixture) run() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.daemon.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func TestRunReadsAtOnceAndOnTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		stop := f.run()
		synctest.Wait()
		if n := len(f.out.lines("sockstat.sockets.used:12|g")); n != 1 {
			t.Errorf("%d readings at the start, want 1", n)
		}
		time.Sleep(time.Minute + time.Second)
		if n := len(f.out.lines("sockstat.sockets.used:12|g")); n != 5 {
			t.Errorf("%d readings in a minute, want 5", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(f.out.lines("socktally.readings:1|c")); n != 5 {
			t.Errorf("%d counts of a reading, want 5", n)
		}
		if stopped := f.log.lines("msg=stopped"); len(stopped) != 1 || !strings.Contains(stopped[0], "sink=stdout") || !strings.Contains(stopped[0], "dropped=0") {
			t.Errorf("got %q", stopped)
		}
	})
}

// TestRunDrainsOnStop ends the daemon while its only reading is still being written.
func TestRunDrainsOnStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowWriter{delay: time.Second}
		f := newFixture(t, func(_ *config.Config, o *Options) { o.Stdout = slow })
		stop := f.run()
		synctest.Wait()
		if slow.String() != "" {
			t.Error("the reading was written before the daemon was told to stop")
		}
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(slow.String(), "sockstat.sockets.used:12|g") {
			t.Errorf("the reading was not written: %q", slow.String())
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

// slowWriter waits before each write.
type slowWriter struct {
	output
	delay time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.delay)
	return w.output.Write(p)
}

// TestRunEndsBesideAHangingWriter has a pipe as its output, and nobody reads from it.
func TestRunEndsBesideAHangingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := newFixture(t, func(_ *config.Config, o *Options) { o.Stdout = hangingWriter{release} })
		stop := f.run()
		synctest.Wait()
		begin := time.Now()
		err := stop()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "stop: ") {
			t.Errorf("got %v, want an error that says what was lost", err)
		}
		close(release)
	})
}

type hangingWriter struct{ release chan struct{} }

func (w hangingWriter) Write([]byte) (int, error) {
	<-w.release
	return 0, errors.New("released")
}

func TestRunOfACancelledContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := f.daemon.Run(ctx); err != nil {
			t.Error(err)
		}
		if n := len(f.out.lines("sockstat.sockets.used:12|g")); n != 1 {
			t.Errorf("%d readings, want 1", n)
		}
	})
}

// TestOverlappingTicksAreSkipped has a reading that hangs: its file is a pipe without a writer.
func TestOverlappingTicksAreSkipped(t *testing.T) {
	f := newFixture(t, nil)
	if err := os.Remove(f.sockstat); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(f.sockstat, 0o600); err != nil {
		t.Fatal(err)
	}
	hanging := make(chan struct{})
	go func() {
		f.daemon.tick()
		close(hanging)
	}()
	// Opening for writing returns when the reading has opened the other end.
	pipe, err := os.OpenFile(f.sockstat, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.daemon.tick() // returns at once
	}
	if _, err := pipe.WriteString(sockstat); err != nil {
		t.Fatal(err)
	}
	if err := pipe.Close(); err != nil {
		t.Fatal(err)
	}
	<-hanging
	f.daemon.forwarder.Close(time.Minute)
	if f.out.lines("socktally.readings.skipped:2|c") == nil || f.out.lines("socktally.readings:1|c") == nil {
		t.Errorf("want 2 skipped and 1 taken:\n%s", f.out.String())
	}
}

func TestReadingsThatFailAreLoggedOncePerChange(t *testing.T) {
	synctest.Test(t, checkLogOfFailures)
}

func checkLogOfFailures(t *testing.T) {
	f := newFixture(t, nil)
	steps := []struct {
		text string
		log  string // in the line that this change makes, "" for none
	}{
		{sockstat, ""},
		{"TCP: inuse x\n", `level=WARN msg="reading is not whole"`},
		{"TCP: inuse x\n", ""},
		{"TCP: inuse x\n", ""},
		{"", `holds no protocol`},
		{"", ""},
		{sockstat, `level=INFO msg="readings are whole again"`},
		{sockstat, ""},
		{"TCP: inuse x\n", `level=WARN msg="reading is not whole"`},
	}
	for i, step := range steps {
		f.write(t, step.text)
		before := f.log.lines("reading")
		f.daemon.tick()
		synctest.Wait() // until it is written
		added := f.log.lines("reading")[len(before):]
		switch {
		case step.log == "" && len(added) > 0:
			t.Errorf("step %d logged %q", i, added)
		case step.log != "" && (len(added) != 1 || !strings.Contains(added[0], step.log)):
			t.Errorf("step %d logged %q, want one line with %q", i, added, step.log)
		}
	}
	f.daemon.forwarder.Close(time.Minute)
	failed := 0
	for _, line := range f.out.lines("socktally.readings.failed:") {
		failed += int(line[len("socktally.readings.failed:")] - '0')
	}
	if failed != 6 {
		t.Errorf("%d failed readings were counted, want 6:\n%s", failed, f.out.String())
	}
}

func TestOnce(t *testing.T) {
	f := newFixture(t, func(cfg *config.Config, _ *Options) {
		cfg.Tags = []string{"role:db"}
		cfg.HostnameGiven = true
	})
	if err := f.daemon.Once(); err != nil {
		t.Error(err)
	}
	if f.out.lines("sockstat.tcp.inuse:3|g|#host:db-1,role:db") == nil {
		t.Errorf("a sample or its tags are missing:\n%s", f.out.String())
	}
}

// TestOnceOfABrokenFile delivers what can be read and fails.
func TestOnceOfABrokenFile(t *testing.T) {
	f := newFixture(t, nil)
	f.write(t, "TCP: inuse x\n")
	err := f.daemon.Once()
	if err == nil || !strings.Contains(err.Error(), "read sockstat: ") || !strings.Contains(err.Error(), f.sockstat) {
		t.Errorf("got %v", err)
	}
	if f.out.lines("socktally.readings.failed:1|c") == nil {
		t.Errorf("the failure was not sent:\n%s", f.out.String())
	}
}

func TestOnceWithoutAReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(_ *config.Config, o *Options) { o.Stdout = brokenWriter{} })
		err := f.daemon.Once()
		if err == nil || !strings.Contains(err.Error(), "deliver to stdout (the standard output): ") || !strings.Contains(err.Error(), "nobody reads") {
			t.Errorf("got %v", err)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

func TestNewWithoutProc(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	_, err := New(config.Config{}, slog.New(slog.DiscardHandler), Options{ProcRoot: absent})
	if err == nil || !strings.Contains(err.Error(), absent) {
		t.Errorf("got %v", err)
	}
}
