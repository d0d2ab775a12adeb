package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"socktally/collector"
	"socktally/metric"
)

const polled = "flows are polled, and short connections missed"

// kernel looks at what the kernel has for a tracer. Sockstat needs none of it.
func (e *examination) kernel() {
	text, err := os.ReadFile(filepath.Join(e.Proc, "sys/kernel/osrelease"))
	release := strings.TrimSpace(string(text))
	if err != nil {
		release = "unknown"
	}
	if !e.flowsOn() {
		e.ok("kernel", release)
		e.ok("flows", "off, by SOCKTALLY_FLOWS")
		return
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 5 || major == 5 && minor < 12) {
		e.find("kernel", Less, release+": "+polled, "run Linux 5.12 or newer")
	} else {
		e.ok("kernel", release)
	}

	if _, err := os.Stat(filepath.Join(e.Sys, "kernel/btf/vmlinux")); err == nil {
		e.ok("btf", "the kernel has its type information")
	} else {
		e.find("btf", Less, "the kernel has no type information: "+polled, "run a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions build theirs")
	}

	lockdown := "unknown" // securityfs is often not mounted in containers
	if text, err := os.ReadFile(filepath.Join(e.Sys, "kernel/security/lockdown")); err == nil {
		if _, after, found := strings.Cut(string(text), "["); found {
			lockdown, _, _ = strings.Cut(after, "]")
		}
	}
	if lockdown == "confidentiality" {
		e.find("lockdown", Less, lockdown+": "+polled, "boot with lockdown=integrity")
	} else {
		e.ok("lockdown", lockdown)
	}
}

// capabilities are those that flows can use.
var capabilities = []struct {
	name string
	bit  uint
}{
	{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE},
}

// processStatus looks at the capabilities of the process, and at what filters its system calls.
func (e *examination) processStatus() {
	if !e.flowsOn() {
		return
	}
	text, err := os.ReadFile(e.ofProcess("status"))
	if err != nil {
		e.find("capabilities", Less, "unknown: "+err.Error(), "mount the proc file system")
		return
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	effective, err := strconv.ParseUint(fields["CapEff"], 16, 64)
	if err != nil {
		e.find("capabilities", Less, fmt.Sprintf("unknown: CapEff is %q", fields["CapEff"]), "mount the proc file system")
		return
	}
	var held, missing []string
	for _, c := range capabilities {
		// CAP_SYS_ADMIN stands in for all of these but for the look into other processes.
		if effective&(1<<c.bit) != 0 || effective&(1<<unix.CAP_SYS_ADMIN) != 0 && c.bit != unix.CAP_SYS_PTRACE {
			held = append(held, c.name)
		} else {
			missing = append(missing, c.name)
		}
	}
	is := "held: " + list(held) + "; missing: " + list(missing)
	has := func(bit uint) bool { return effective&(1<<bit|1<<unix.CAP_SYS_ADMIN) != 0 }
	switch {
	case !has(unix.CAP_BPF) || !has(unix.CAP_PERFMON):
		e.find("capabilities", Less, is+": "+polled, "run as root, or the service with /usr/lib/socktally/flows.conf")
	case !has(unix.CAP_NET_ADMIN):
		e.find("capabilities", Less, is+": UDP and DNS are not counted", "add CAP_NET_ADMIN")
	case len(missing) > 0:
		e.ok("capabilities", is+": DD_SERVICE and the like of other processes are not seen")
	default:
		e.ok("capabilities", is)
	}
	if fields["Seccomp"] == "2" {
		e.ok("seccomp", "a filter is installed; --probe tells whether it lets bpf() through")
	} else {
		e.ok("seccomp", "no filter")
	}
	limits, err := os.ReadFile(e.ofProcess("limits"))
	if _, after, found := strings.Cut(string(limits), "Max locked memory"); err == nil && found && len(strings.Fields(after)) > 0 {
		e.ok("memlock", strings.Fields(after)[0]+" bytes; kernels that can trace flows do not need it")
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// cgroup looks for the tree at whose root UDP is counted.
func (e *examination) cgroup() {
	if !e.flowsOn() {
		return
	}
	text, err := os.ReadFile(e.ofProcess("mountinfo"))
	if err != nil {
		e.find("cgroup", Less, "unknown: "+err.Error(), "mount the proc file system")
		return
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			e.ok("cgroup", "version 2 at "+fields[4])
			return
		}
	}
	e.find("cgroup", Less, "version 2 is not mounted: UDP and DNS are not counted", "mount it: mount -t cgroup2 none /sys/fs/cgroup; in a container, pass the host's on")
}

// namespace tells the network namespace of the host from others by settings of the whole kernel, which
// only the host's shows.
func (e *examination) namespace() {
	visible := func(name string) bool {
		_, err := os.Stat(filepath.Join(e.Proc, "sys/net/ipv4", name))
		return err == nil
	}
	scope := string(e.Config.Scope)
	switch whole := visible("tcp_max_orphans"); {
	case !whole && !visible("ip_local_port_range"):
		e.find("namespace", Less, "/proc/sys/net is not visible: there are no limits and no ratios", "take out ProcSubset=pid, or mount /proc/sys")
	case whole:
		e.ok("namespace", "the host's, SOCKTALLY_SCOPE="+scope)
	case e.Config.Scope == metric.Host:
		e.find("namespace", Less, "a network namespace of its own, SOCKTALLY_SCOPE=host: what is counted for the whole kernel repeats the host's, without limits",
			"in a sidecar set SOCKTALLY_SCOPE=netns; for the host use its network (--network host, hostNetwork: true)")
	default:
		e.ok("namespace", "a network namespace of its own, SOCKTALLY_SCOPE="+scope)
	}
}

// sockstat takes one reading.
func (e *examination) sockstat() {
	c, err := collector.New(e.Proc, e.Config.Scope)
	if err != nil {
		e.find("sockstat", Bad, err.Error(), "mount the proc file system")
		return
	}
	samples, err := c.Read(e.Now)
	text := fmt.Sprintf("%d metrics a reading", len(samples))
	switch {
	case err == nil:
		e.ok("sockstat", text)
	case len(samples) == 0:
		e.find("sockstat", Bad, oneLine(err), "make the file readable")
	default:
		e.find("sockstat", Less, text+": "+oneLine(err), "make the file readable")
	}
}

// oneLine is the text of an error that may join several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// exists says whether there is something at path, as far as can be seen.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
