package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layout is the direction of imports: for each package of this module, which others of it, and which
// modules of others, its code may import. Tests may import more. A package imports only what stands
// on its line, so that siblings never import each other; one without a line fails the test.
var layout = []struct {
	path    string
	own     string // relative to this module
	modules string
}{
	{".", "cli", ""},
	{"cli", "api/answer config daemon doctor flows flows/coverage internal/environ record", "github.com/spf13/cobra golang.org/x/term"},
	{"daemon", "api collector config flowmetric flows flows/coverage flows/networks forward forward/sinks forward/spool internal/clock internal/filelock metric record store", "github.com/coreos/go-systemd/v22/daemon github.com/robfig/cron/v3 golang.org/x/sys"},
	{"doctor", "collector config flowmetric flows forward/sinks internal/finding internal/host metric", "github.com/robfig/cron/v3 golang.org/x/sys"},
	{"api", "api/answer query record", "golang.org/x/net"},
	{"api/answer", "", ""},
	{"config", "flows/networks metric", "github.com/kelseyhightower/envconfig github.com/robfig/cron/v3"},
	{"bpf", "", "github.com/cilium/ebpf"},
	{"flows/trace", "bpf flows/coverage flows/dns flows/end flows/process internal/host record", "github.com/cilium/ebpf github.com/vishvananda/netlink golang.org/x/sys"},
	{"flows/sockdiag", "flows/coverage flows/end flows/process record", "github.com/vishvananda/netlink golang.org/x/sys"},
	{"flows/coverage", "internal/host", "github.com/cilium/ebpf golang.org/x/sys"},
	{"flows/end", "flows/process record", ""},
	{"flows/process", "internal/host internal/lru record", "golang.org/x/sys"},
	{"flows/dns", "internal/lru record", "golang.org/x/net"},
	{"flows", "flows/coverage flows/dns flows/end flows/process flows/sockdiag flows/trace internal/lru record", ""},
	{"flowmetric", "metric record", ""},
	{"store", "internal/clock internal/filelock record store/chunk", "modernc.org/sqlite"},
	{"store/chunk", "record", ""},
	{"query", "record", ""},
	{"flows/networks", "metric", "github.com/gaissmai/bart"},
	{"collector", "metric", "github.com/prometheus/procfs"},
	{"forward", "forward/spool internal/clock metric", ""},
	{"forward/dogstatsd", "forward internal/clock internal/environ internal/finding metric", "github.com/DataDog/datadog-go/v5"},
	{"forward/series", "forward internal/clock internal/finding metric", ""},
	{"forward/sinks", "config forward forward/dogstatsd forward/series internal/clock internal/finding", ""},
	{"forward/spool", "internal/filelock metric", ""},
	{"metric", "", ""},
	{"record", "", ""},
	{"internal/clock", "", ""},
	{"internal/environ", "", ""},
	{"internal/filelock", "", "golang.org/x/sys"},
	{"internal/finding", "", ""},
	{"internal/host", "", "golang.org/x/sys"},
	{"internal/lru", "", ""},

	// For tests and generation only; no package above imports these.
	{"forward/forwardtest", "forward metric", ""},
	{"internal/bench", "internal/bench/paired", ""},
	{"internal/bench/cost", "internal/bench/paired internal/host", "github.com/cilium/ebpf github.com/vishvananda/netlink golang.org/x/net/dns golang.org/x/sys"},
	{"internal/bench/paired", "", ""},
	{"internal/clock/clocktest", "internal/clock", ""},
	{"internal/gendocs", "cli config metric", "github.com/spf13/cobra github.com/spf13/pflag"},
}

const module = "socktally"

func TestLayout(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range listPackages(t) {
		path := relative(p.ImportPath)
		seen[path] = true
		i := slices.IndexFunc(layout, func(row struct{ path, own, modules string }) bool { return row.path == path })
		if i < 0 {
			t.Errorf("package %s has no line in the layout: say what it may import", path)
			continue
		}
		own, modules := strings.Fields(layout[i].own), strings.Fields(layout[i].modules)
		for _, imported := range p.Imports {
			first, _, _ := strings.Cut(imported, "/")
			switch {
			case first == module:
				if !slices.Contains(own, relative(imported)) {
					t.Errorf("%s imports %s: the layout allows %q", path, relative(imported), own)
				}
			case strings.Contains(first, "."): // the standard library has no dot there
				if !slices.ContainsFunc(modules, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }) {
					t.Errorf("%s imports %s: the layout allows the modules %q", path, imported, modules)
				}
			}
		}
	}
	for _, row := range layout {
		if !seen[row.path] {
			t.Errorf("the layout has a line for %s, which does not exist", row.path)
		}
	}
}

// TestEnvironmentIsSetInOnePlace lets internal/environ alone change the environment of the process.
func TestEnvironmentIsSetInOnePlace(t *testing.T) {
	calls := regexp.MustCompile(`\b(Setenv|Unsetenv|Clearenv)\(`)
	noneOf(t, calls, func(path string) bool { return path != "internal/environ" })
}

// TestTimeIsToldByTheClock keeps what a test is to have a time of its own for from asking the machine.
func TestTimeIsToldByTheClock(t *testing.T) {
	calls := regexp.MustCompile(`\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTicker|NewTimer)\b`)
	noneOf(t, calls, func(path string) bool {
		first, _, _ := strings.Cut(path, "/")
		return slices.Contains([]string{"daemon", "forward", "store"}, first) && path != "forward/forwardtest"
	})
}

// noneOf fails for each place in the code of the packages in question that matches calls.
func noneOf(t *testing.T, calls *regexp.Regexp, in func(path string) bool) {
	t.Helper()
	for _, p := range listPackages(t) {
		if !in(relative(p.ImportPath)) {
			continue
		}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range calls.FindAllString(string(text), -1) {
				t.Errorf("%s/%s has %s", relative(p.ImportPath), name, found)
			}
		}
	}
}

func relative(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

type listedPackage struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
}

// listPackages asks the go command for every package of this module.
func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listedPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}
