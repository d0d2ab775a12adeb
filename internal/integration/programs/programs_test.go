// Package programs holds the list of packages in .ci/run to what is called: every program that a test, the
// Makefile or a script calls has to be in every Debian, or in a package of that list. So CI needs nothing
// that a machine happens to have.
package programs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// The programs that are called, by the Debian package that has them.
var (
	// everywhere are packages that no Debian 12 is without.
	everywhere = map[string]string{
		"apt":        "apt-cache apt-get",
		"bash":       "bash",
		"coreutils":  "basename cat chroot cp dirname env head install mkdir mktemp mv nice readlink rm rmdir seq sleep tee",
		"dash":       "sh",
		"dpkg":       "dpkg-deb dpkg-query",
		"findutils":  "find",
		"grep":       "grep",
		"gzip":       "gzip",
		"libc-bin":   "getent ldd",
		"mawk":       "awk",
		"mount":      "mount umount",
		"sed":        "sed",
		"util-linux": "nsenter setpriv unshare",
	}
	// fromCI are packages that .ci/run installs.
	fromCI = map[string]string{
		"bind9-dnsutils":    "dig",
		"clang-19":          "clang-19",
		"cpio":              "cpio",
		"curl":              "curl",
		"dnsmasq-base":      "dnsmasq",
		"dnsperf":           "dnsperf",
		"docker.io":         "docker dockerd",
		"git":               "git",
		"iproute2":          "ip nstat tc",
		"kmod":              "depmod",
		"lintian":           "lintian",
		"llvm-19":           "llvm-strip-19",
		"make":              "make",
		"mmdebstrap":        "mmdebstrap",
		"nftables":          "nft",
		"nginx":             "nginx",
		"nsd":               "nsd",
		"podman":            "podman",
		"qemu-system-arm":   "qemu-system-aarch64",
		"qemu-system-x86":   "qemu-system-x86_64",
		"rpm":               "rpm",
		"rpmlint":           "rpmlint",
		"runc":              "runc",
		"shellcheck":        "shellcheck",
		"systemd-container": "systemd-nspawn",
		"wrk":               "wrk",

		// What the Go command and the compilers read or call.
		"ca-certificates": "",
		"gcc":             "",
		"libbpf-dev":      "",
		"libc6-dev":       "",
	}
	// given is what CI is given, and what the project itself builds or holds.
	given = strings.Fields("go gofmt bench-cost cold-start fetch-kernels.sh flows.test init once.sh socktally")
	// elsewhere is called where it is there, and nothing fails where it is not: peers of benchmarks, and
	// what the packages' scripts find on their users' machines.
	elsewhere = strings.Fields("pmacctd prometheus-node-exporter softflowd sqlite3 systemctl")
	// behind are programs that others call by themselves, which their packages do not depend on.
	behind = map[string]string{"podman": "runc", "rpmlint": "rpm"}
	// dynamic are the programs that an expression stands for which the test cannot read.
	dynamic = map[string]string{
		"internal/bench/cost/way.go: path":                           "pmacctd softflowd",
		"internal/bench/cost/bench.go: program":                      "nginx wrk",
		"internal/bench/cost/way.go: binary":                         "socktally",
		"internal/bench/cost/way.go: name":                           "pmacctd softflowd",
		"internal/bench/cost/way.go: o.before":                       "socktally",
		"internal/bench/cost/way.go: o.binary":                       "socktally",
		"internal/bench/main.go: program":                            "",
		"internal/bench/main.go: *binary":                            "socktally",
		"internal/integration/container_test.go: fields[]":           "docker",
		"internal/integration/programs/programs_test.go: program":    "",
		"internal/bench/main.go: installed":                          "socktally",
		"internal/integration/emulator_test.go: emulators[].program": "qemu-system-x86_64 qemu-system-aarch64",
	}
)

// TestAreInCI reads what is called, and finds each program in a package.
func TestAreInCI(t *testing.T) {
	ci := read(t, ".ci/run")
	listed := installed(t, ci)
	all := called(t)
	for _, c := range slices.Clone(all) {
		for _, program := range strings.Fields(behind[c.program]) {
			all = append(all, call{c.where + " (by " + c.program + ")", program})
		}
	}
	used := map[string]bool{}
	for _, c := range all {
		if used[c.program] || slices.Contains(given, c.program) || slices.Contains(elsewhere, c.program) {
			continue
		}
		used[c.program] = true
		if packageOf(everywhere, c.program) != "" {
			continue
		}
		switch name := packageOf(fromCI, c.program); {
		case name == "":
			t.Errorf("%s calls %s: say in the table fromCI of this test which Debian package has it, and add that to the packages in .ci/run", c.where, c.program)
		case !slices.Contains(listed, name):
			t.Errorf("%s calls %s, which is in the Debian package %s: add that to the packages in .ci/run", c.where, c.program, name)
		}
	}
	for _, name := range listed {
		if _, ok := fromCI[name]; !ok {
			t.Errorf(".ci/run installs %s: say in the table fromCI of this test which of its programs are called", name)
		}
	}
	for _, table := range []map[string]string{everywhere, fromCI} {
		for name, programs := range table {
			for _, program := range strings.Fields(programs) {
				if !used[program] {
					t.Errorf("nothing calls %s of the package %s: take it out of the table", program, name)
				}
			}
		}
	}
}

// TestTables asks this machine's dpkg whether the tables are right.
func TestTables(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("skipped: the test needs a Debian")
	}
	packages := map[string]string{} // by paths of their programs
	for _, table := range []map[string]string{everywhere, fromCI} {
		for name, programs := range table {
			for _, program := range strings.Fields(programs) {
				path, err := exec.LookPath(program)
				if err != nil && os.Getenv("SOCKTALLY_TEST_PRIVILEGED") == "1" {
					t.Errorf("of the package %s: %v", name, err)
				}
				link, _ := os.Readlink(path)
				// What stands in for a package's program says nothing of the package.
				if err == nil && !strings.HasPrefix(path, "/usr/local/") && !strings.HasPrefix(link, "/etc/alternatives/") {
					packages[path] = name
				}
			}
		}
	}
	// A package knows a file by the folder that it was in before /bin became a link.
	args := []string{"--search"}
	for path := range packages {
		args = append(args, path, strings.TrimPrefix(path, "/usr"), "/usr"+path)
	}
	out, _ := exec.Command("dpkg-query", args...).Output() // fails for each path that it does not know
	owners := map[string]string{}
	for line := range strings.Lines(string(out)) {
		owner, path, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if _, ok := packages[path]; !ok {
			path = "/usr" + path
		}
		if !strings.HasPrefix(owner, "diversion ") {
			owners[path], _, _ = strings.Cut(owner, ":")
		}
	}
	for path, name := range packages {
		if owners[path] != name {
			t.Errorf("%s is in the package %q, the table says %s", path, owners[path], name)
		}
	}
}

func packageOf(table map[string]string, program string) string {
	for name, programs := range table {
		if slices.Contains(strings.Fields(programs), program) {
			return name
		}
	}
	return ""
}

// called returns what all code calls that is no test's data.
func called(t *testing.T) calls {
	t.Helper()
	var all calls
	folders := map[string]bool{}
	shebang := regexp.MustCompile(`^#!.*\b(ba)?sh\n`)
	for _, path := range sourceFiles(t) {
		if strings.HasSuffix(path, ".go") {
			folders[filepath.Dir(path)] = true
		} else if text := read(t, path); shebang.MatchString(text) {
			all.script(t, path, text)
		}
	}
	for folder := range folders {
		all.goCalls(t, root, folder, dynamic)
	}
	all.makefile(t)
	return all
}

// sourceFiles returns the paths of all files, without what is built.
func sourceFiles(t *testing.T) (paths []string) {
	t.Helper()
	skipped := []string{".git", "bin", "dist", "testdata"}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(skipped, entry.Name()):
			return filepath.SkipDir
		case entry.Type().IsRegular():
			relative, err := filepath.Rel(root, path)
			paths = append(paths, relative)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// makefile takes what make would have the shell do for every target, and what it has it do to read the file.
func (c *calls) makefile(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("skipped: the test needs make")
	}
	text := read(t, "Makefile")
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.+)$`).FindStringSubmatch(text)
	if phony == nil {
		t.Fatal("the Makefile has no line .PHONY")
	}
	for _, target := range strings.Fields(phony[1]) {
		dry := exec.Command("make", "--dry-run", "--always-make", "--no-print-directory", target)
		dry.Dir = root
		out, err := dry.Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				out = exit.Stderr
			}
			t.Fatalf("make --dry-run %s: %v\n%s", target, err, out)
		}
		c.script(t, "make "+target, string(out))
	}
	text = regexp.MustCompile(`\$\([A-Z_]+\)`).ReplaceAllString(text, unknown)
	for _, rest := range strings.Split(text, "$(shell ")[1:] {
		open, end := 1, 0
		for ; open > 0 && end < len(rest); end++ {
			open += strings.Count(rest[end:end+1], "(") - strings.Count(rest[end:end+1], ")")
		}
		c.script(t, "Makefile", rest[:end-1])
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
