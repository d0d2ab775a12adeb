package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var soak = flag.Duration("soak", 10*time.Second, "how long the soak test runs")

const (
	// privilegedVar makes a test fail where it would skip.
	privilegedVar = "SOCKTALLY_TEST_PRIVILEGED"
	// binariesVar and namespaceVar are set for a test that runs itself in a network namespace.
	binariesVar  = "SOCKTALLY_TEST_BINARIES"
	namespaceVar = "SOCKTALLY_TEST_NAMESPACE"
)

// binaries is the directory of what the tests run.
var binaries string

func TestMain(m *testing.M) {
	if talk := os.Getenv(talkerVar); talk != "" {
		os.Exit(runTalker(talk))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binaries = os.Getenv(binariesVar); binaries == "" {
		dir, err := os.MkdirTemp("", "socktally-integration-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries = dir
	}
	return m.Run()
}

// The binaries that the tests run.
const (
	socktally       = "socktally"
	socktallyRace   = "socktally-race"
	statsdExporter  = "statsd_exporter"
	victoriaMetrics = "victoria-metrics"
)

// builds says how each binary is made.
var builds = map[string]struct {
	dir, cgo string
	args     []string
	once     *sync.Once
}{
	socktally:       {"../..", "0", []string{"-trimpath", "."}, new(sync.Once)},
	socktallyRace:   {"../..", "1", []string{"-race", "."}, new(sync.Once)},
	statsdExporter:  {".", "0", []string{"github.com/prometheus/statsd_exporter"}, new(sync.Once)},
	victoriaMetrics: {".", "0", []string{"github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics"}, new(sync.Once)},
}

// binary returns the path of a binary and builds it the first time.
func binary(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(binaries, name)
	b := builds[name]
	b.once.Do(func() {
		if os.Getenv(binariesVar) != "" {
			return // the test that started this one has built it
		}
		cmd := exec.Command("go", append([]string{"build", "-o", path}, b.args...)...)
		cmd.Dir = b.dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", cmd.Args, err, out)
		}
	})
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s was not built: %v", name, err)
	}
	return path
}

// skip skips the test where a person lacks something, and fails it where CI must have it.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if os.Getenv(privilegedVar) == "1" {
		t.Fatalf("%s=1, but the test %s", privilegedVar, reason)
	}
	t.Skip("skipped: the test " + reason)
}

// needTool returns the path of a program.
func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		skip(t, "needs the program %s: %v", name, err)
	}
	return path
}
