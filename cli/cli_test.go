package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"socktally/config"
	"socktally/metric"
)

// setEnvironment unsets every variable that socktally reads, and sets those given, until the test ends. The test gets a
// state folder of its own.
func setEnvironment(t *testing.T, env map[string]string) {
	t.Helper()
	for _, v := range config.Variables() {
		t.Setenv(v.Name, "")
	}
	for _, entry := range os.Environ() { // socktally would warn of unknown variables
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "SOCKTALLY_TEST_") {
			t.Setenv(name, value) // so that it is restored at the end of the test
			os.Unsetenv(name)
		}
	}
	t.Setenv("SOCKTALLY_STATE_DIR", t.TempDir())
	for name, value := range env {
		t.Setenv(name, value)
	}
}

// run runs a command with an empty env file, not with that of the machine.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if len(args) > 0 && (args[0] == "run" || args[0] == "once" || args[0] == "flows" || args[0] == "connections" || args[0] == "dns") {
		args = append([]string{args[0], "--env-file", writeEnvFile(t, "")}, args[1:]...)
	}
	var out, errs bytes.Buffer
	code = Main(args, &out, &errs, "v1.2.3")
	return code, out.String(), errs.String()
}

func writeEnvFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socktally.env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args   []string
		code   int
		stdout string // a part of it; "" for nothing at all
		stderr string // all of it
	}{
		{nil, exitOK, "Usage:", ""},
		{[]string{"--help"}, exitOK, "Usage:", ""},
		{[]string{"once", "--help"}, exitOK, "--forward", ""},
		{[]string{"version"}, exitOK, "socktally v1.2.3 (go", ""},
		{[]string{"nonsense"}, exitUsage, "", "socktally: unknown command \"nonsense\": see socktally --help\n"},
		{[]string{"--nonsense"}, exitUsage, "", "socktally: unknown flag: --nonsense: see socktally --help\n"},
		{[]string{"run", "--nonsense"}, exitUsage, "", "socktally: unknown flag: --nonsense: see socktally run --help\n"},
		{[]string{"once", "--forward"}, exitUsage, "", "socktally: flag needs an argument: --forward: see socktally once --help\n"},
		{[]string{"once", "--forward", ""}, exitUsage, "", "socktally: --forward is empty: want a comma list of dogstatsd, http, stdout\n"},
		{[]string{"once", "now"}, exitUsage, "", "socktally: socktally once takes no arguments, found \"now\": see socktally once --help\n"},
		{[]string{"run", "now"}, exitUsage, "", "socktally: socktally run takes no arguments, found \"now\": see socktally run --help\n"},
		{[]string{"version", "now"}, exitUsage, "", "socktally: socktally version takes no arguments, found \"now\": see socktally version --help\n"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			setEnvironment(t, nil)
			code, stdout, stderr := run(t, test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if stderr != test.stderr {
				t.Errorf("stderr %q, want %q", stderr, test.stderr)
			}
			if test.stdout == "" && stdout != "" || !strings.Contains(stdout, test.stdout) {
				t.Errorf("stdout %q, want %q", stdout, test.stdout)
			}
		})
	}
}

var gaugeLine = regexp.MustCompile(`^([a-z0-9_.]+):([0-9.e+-]+)\|([gc])\|#(.*)$`)

func TestOnceToStdout(t *testing.T) {
	setEnvironment(t, map[string]string{"SOCKTALLY_FORWARD": "http", "DD_TAGS": "role:db"})
	code, stdout, stderr := run(t, "once", "--forward", "stdout")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(stdout) {
		m := gaugeLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Errorf("not a line of DogStatsD: %q", line)
			continue
		}
		d, known := metric.Lookup(m[1])
		switch {
		case !known || m[3] != d.Kind.String()[:1]:
			t.Errorf("not as in the catalogue: %q", line)
		case seen[m[1]]:
			t.Errorf("sent twice: %q", line)
		case !strings.Contains(m[4], "role:db"):
			t.Errorf("no tag: %q", line)
		}
		seen[m[1]] = true
	}
	for _, name := range []string{"sockstat.sockets.used", "sockstat.tcp.inuse", "sockstat.udp.inuse", metric.Readings, metric.ReadingDuration} {
		if !seen[name] {
			t.Errorf("%s was not sent", name)
		}
	}
}

func TestOnceReadsTheEnvFile(t *testing.T) {
	setEnvironment(t, map[string]string{"DD_ENV": "given"})
	path := writeEnvFile(t, "SOCKTALLY_FORWARD=stdout # not dogstatsd\nDD_ENV=file\nDD_SERVICE=file\n")
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"once", "--env-file", path}, &stdout, &stderr, ""); code != exitOK || stderr.Len() > 0 {
		t.Fatalf("exit code %d, stderr %q", code, &stderr)
	}
	if line, _, _ := strings.Cut(stdout.String(), "\n"); !strings.Contains(line, "env:given") || !strings.Contains(line, "service:file") {
		t.Errorf("got %q", line)
	}
}

func TestBadEnvFile(t *testing.T) {
	setEnvironment(t, nil)
	absent := filepath.Join(t.TempDir(), "absent.env")
	bad := writeEnvFile(t, "DD_ENV\n")
	tests := []struct{ path, stderr string }{
		{absent, "socktally: read env file: open " + absent + ": no such file or directory\n"},
		{bad, "socktally: read env file " + bad + ": line 1: want NAME=value, found no =\n"},
	}
	for _, command := range []string{"once", "run"} {
		for _, test := range tests {
			var stdout, stderr bytes.Buffer
			code := Main([]string{command, "--env-file", test.path}, &stdout, &stderr, "")
			if code != exitUsage || stdout.Len() > 0 || stderr.String() != test.stderr {
				t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", command, code, &stdout, &stderr, test.stderr)
			}
		}
	}
}

func TestBadEnvironment(t *testing.T) {
	for _, command := range []string{"once", "run"} {
		t.Run(command, func(t *testing.T) {
			setEnvironment(t, map[string]string{"SOCKTALLY_SCHEDULE": "0 0 31 2 *", "SOCKTALLY_SCOPE": "pod", "DD_DOGSTATSD_PORT": "0", "DD_TAGS": "a\nb"})
			code, stdout, stderr := run(t, command)
			if code != exitUsage || stdout != "" {
				t.Errorf("exit code %d, stdout %q", code, stdout)
			}
			if !strings.HasPrefix(stderr, "socktally: bad configuration:\n") || strings.Count(stderr, "\n") != 5 {
				t.Errorf("want a head and four faults:\n%s", stderr)
			}
			for _, name := range []string{"SOCKTALLY_SCHEDULE=", "SOCKTALLY_SCOPE=", "DD_DOGSTATSD_PORT=", "DD_TAGS="} {
				if strings.Count(stderr, "\n"+name) != 1 {
					t.Errorf("%s is not reported once:\n%s", name, stderr)
				}
			}
		})
	}
}

func TestUnknownVariableIsWarnedOf(t *testing.T) {
	setEnvironment(t, map[string]string{"SOCKTALLY_SCHEDUL": "@every 1m", "SOCKTALLY_LOG_FORMAT": "json"})
	code, _, stderr := run(t, "once", "--forward", "stdout")
	if code != exitOK || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, `"msg":"unknown variable SOCKTALLY_SCHEDUL has no effect"`) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// TestOnceNotDelivered has an intake that rejects the samples, so that a later try would not help.
func TestOnceNotDelivered(t *testing.T) {
	intake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errors":["no such metric"]}`)
	}))
	defer intake.Close()
	setEnvironment(t, map[string]string{"SOCKTALLY_HTTP_URL": intake.URL, "DD_API_KEY": "0123456789abcdef"})
	code, stdout, stderr := run(t, "once", "--forward", "http,stdout")
	if code != exitFailed || !strings.Contains(stdout, "sockstat.sockets.used:") {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	if !strings.HasPrefix(stderr, "socktally: deliver to http (") || !strings.Contains(stderr, "no such metric") || strings.Contains(stderr, "0123456789abcdef") {
		t.Errorf("stderr %q", stderr)
	}
}

// firstWrite is a writer that says when it is first written to.
type firstWrite struct {
	io.Writer
	once    sync.Once
	written chan struct{}
}

func (w *firstWrite) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.written) })
	return w.Writer.Write(p)
}

// surviveSignals keeps SIGTERM from ending the test's own process.
func surviveSignals(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	t.Cleanup(func() { signal.Stop(signals) })
}

func terminate(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestRunEndsAtASignal(t *testing.T) {
	surviveSignals(t)
	setEnvironment(t, nil)
	var out, stderr bytes.Buffer
	stdout := &firstWrite{Writer: &out, written: make(chan struct{})}
	ended := make(chan int)
	go func() {
		ended <- Main([]string{"run", "--env-file", writeEnvFile(t, ""), "--forward", "stdout"}, stdout, &stderr, "")
	}()
	<-stdout.written
	terminate(t)
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(out.String(), "sockstat.sockets.used:") {
		t.Errorf("stdout %q", &out)
	}
	for _, part := range []string{"msg=started", "msg=stopped"} {
		if strings.Count(stderr.String(), part) != 1 {
			t.Errorf("no line %q in stderr:\n%s", part, &stderr)
		}
	}
}

// TestRunEndsNowAtASecondSignal has an output that hangs, so that the end would take long after only one signal.
func TestRunEndsNowAtASecondSignal(t *testing.T) {
	surviveSignals(t)
	setEnvironment(t, nil)
	reader, writer := io.Pipe()
	defer reader.Close()
	var stderr bytes.Buffer
	stdout := &firstWrite{Writer: writer, written: make(chan struct{})}
	ended := make(chan int)
	go func() {
		ended <- Main([]string{"run", "--env-file", writeEnvFile(t, ""), "--forward", "stdout"}, stdout, &stderr, "")
	}()
	<-stdout.written
	terminate(t)
	for {
		select {
		case code := <-ended:
			if code != exitFailed {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(stderr.String(), "stopped at once by a second signal") {
				t.Errorf("stderr %q", &stderr)
			}
			return
		case <-time.After(20 * time.Millisecond):
			terminate(t) // two signals sent together may arrive as one
		}
	}
}
