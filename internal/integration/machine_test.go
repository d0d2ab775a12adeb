package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// machine is a Debian of its own, booted by its own systemd in namespaces of its own. Its kernel is this
// one.
type machine struct {
	root   string // of its files
	leader int    // its first process, by this machine's id
	*process
}

// bootstrap makes the file system of a Debian suite with packages beside the smallest set, from the
// mirror that this machine uses.
func bootstrap(t *testing.T, suite string, packages ...string) string {
	t.Helper()
	needRoot(t)
	needTool(t, "mmdebstrap")
	mirror, err := exec.Command("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").Output()
	if err != nil {
		t.Fatal(err)
	}
	sites := slices.DeleteFunc(strings.Fields(string(mirror)), func(site string) bool { return strings.Contains(site, "security") })
	if len(sites) == 0 {
		t.Fatal("this machine's apt has no mirror")
	}
	root := filepath.Join(t.TempDir(), suite)
	mustRun(t, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(packages, ","), suite, root, sites[0])
	return root
}

// bootMachine starts the systemd in root, with the capabilities that a tracer needs, and waits until it is up.
func bootMachine(t *testing.T, root string) *machine {
	t.Helper()
	nspawn := needTool(t, "systemd-nspawn")
	// systemd may not make the groups of its services in the root of this machine's trees. It wants that
	// of version 2 and, where that is not the only one, its own.
	group := groupOfTest(t)
	two, one := cgroupTrees(t)
	var procs []string
	for _, tree := range append(one, two) {
		if tree != two && filepath.Base(tree) != "systemd" {
			continue
		}
		dir := filepath.Join(tree, group)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		procs = append(procs, filepath.Join(dir, "cgroup.procs"))
	}
	const inGroups = `n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1"; shift; n=$((n-1)); done; exec "$@"`
	args := append([]string{"-c", inGroups, "sh", strconv.Itoa(len(procs))}, procs...)
	args = append(args, nspawn, "--quiet", "--directory="+root, "--boot", "--register=no", "--keep-unit", "--private-network",
		"--machine=socktally-"+filepath.Base(root), "--capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN", "--system-call-filter=bpf perf_event_open")
	m := &machine{root: root, process: start(t, []string{"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"}, "/bin/sh", args...)}
	t.Cleanup(func() {
		if m.leader != 0 { // the machine outlives a systemd-nspawn that is killed
			_ = syscall.Kill(m.leader, syscall.SIGKILL)
		}
	})
	eventually(t, func() error {
		if m.leader == 0 {
			if m.leader = firstProcess(m.cmd.Process.Pid); m.leader == 0 {
				return errors.New("the machine has no first process")
			}
		}
		state, _ := m.try("systemctl is-system-running")
		if state != "running" && state != "degraded" {
			return fmt.Errorf("the machine is %q", state)
		}
		return nil
	})
	return m
}

// try runs a script in the machine and returns what it printed.
func (m *machine) try(script string) (string, error) {
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(m.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--", "/bin/bash", "-euc", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", script, err, text)
	}
	return text, err
}

// do is try, and the test ends if the script fails.
func (m *machine) do(t *testing.T, script string) string {
	t.Helper()
	out, err := m.try(script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// copyIn puts a file into the machine.
func (m *machine) copyIn(t *testing.T, path, to string, mode os.FileMode) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.root, to), content, mode); err != nil {
		t.Fatal(err)
	}
}

// firstProcess finds, below a process, the one that is the first of a namespace of processes.
func firstProcess(pid int) int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, child := range strings.Fields(string(children)) {
		status, err := os.ReadFile("/proc/" + child + "/status")
		if err != nil {
			continue
		}
		id, err := strconv.Atoi(child)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if ids, ok := strings.CutPrefix(line, "NSpid:"); ok && strings.HasSuffix(strings.TrimSpace(ids), "\t1") {
				return id
			}
		}
		if found := firstProcess(id); found != 0 {
			return found
		}
	}
	return 0
}

// cgroupTrees returns where control groups of version 2 are mounted, and after it the trees of version 1.
func cgroupTrees(t *testing.T) (two string, one []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		switch fields := strings.Fields(line); fields[2] {
		case "cgroup2":
			two = fields[1]
		case "cgroup":
			one = append(one, fields[1])
		}
	}
	if two == "" {
		skip(t, "needs control groups of version 2")
	}
	return two, one
}

// groupOfTest returns the name of a control group for what a test starts. It is removed, where it was
// made, when all that the test starts after this call has ended.
func groupOfTest(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("socktally-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	two, one := cgroupTrees(t)
	t.Cleanup(func() {
		eventually(t, func() error {
			var errs []error
			for _, tree := range append(one, two) {
				errs = append(errs, removeGroup(filepath.Join(tree, name)))
			}
			return errors.Join(errs...)
		})
	})
	return name
}

// removeGroup removes a control group and those below it.
func removeGroup(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeGroup(filepath.Join(group, e.Name())))
		}
	}
	return errors.Join(err, os.Remove(group))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
}

// mustRun runs a program to its end, with little priority: the soak test beside it reads each second.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command("nice", append([]string{name}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// making is held by who makes: all versions are built in one place.
var making sync.Mutex

// mustMake makes a target of the project as users do.
func mustMake(t *testing.T, target string, variables ...string) {
	t.Helper()
	needTool(t, "make")
	making.Lock()
	defer making.Unlock()
	mustRun(t, "make", append([]string{"-C", "../..", target}, variables...)...)
}
