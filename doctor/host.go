package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"socktally/collector"
	"socktally/internal/host"
	"socktally/metric"
)

const polled = "flows are polled, and short connections missed"

// kernel checks what the tracer needs of the kernel. Sockstat does not need it.
func (e *examination) kernel() {
	release := e.host.Release()
	if release == "" {
		release = "unknown"
	}
	if !e.flowsOn() {
		e.addOK("kernel", release)
		e.addOK("flows", "off, by SOCKTALLY_FLOWS")
		return
	}
	if host.ReleaseAtLeast(release, 5, 12) {
		e.addOK("kernel", release)
	} else {
		e.add("kernel", Less, release+": "+polled, "run Linux 5.12 or newer")
	}

	if e.host.HasBTF() {
		e.addOK("btf", "the kernel has its type information")
	} else {
		e.add("btf", Less, "the kernel has no type information: "+polled, "run a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions build theirs")
	}

	switch lockdown := e.host.Lockdown(); lockdown {
	case "confidentiality":
		e.add("lockdown", Less, lockdown+": "+polled, "boot with lockdown=integrity")
	case "":
		e.addOK("lockdown", "unknown") // securityfs is often not mounted in containers
	default:
		e.addOK("lockdown", lockdown)
	}
}

// processStatus checks the capabilities of the process and its seccomp filter.
func (e *examination) processStatus() {
	if !e.flowsOn() {
		return
	}
	status, err := e.host.Status()
	if err != nil {
		e.add("capabilities", Less, "unknown: "+err.Error(), "mount the proc file system")
		return
	}
	e.capabilities(status.Capabilities)
	if status.SeccompFilter {
		e.addOK("seccomp", "a filter is installed; --probe tells whether it lets bpf() through")
	} else {
		e.addOK("seccomp", "no filter")
	}
	if limit := e.host.Limit("Max locked memory"); limit != "" {
		e.addOK("memlock", limit+" bytes; kernels that can trace flows do not need it")
	}
}

// capabilities checks the capabilities that counting flows can use.
func (e *examination) capabilities(effective host.Capabilities) {
	var held, missing []string
	for _, c := range []host.Capability{host.BPF, host.Perfmon, host.NetAdmin, host.SysPtrace} {
		if effective.Allow(c) {
			held = append(held, c.String())
		} else {
			missing = append(missing, c.String())
		}
	}
	is := "held: " + list(held) + "; missing: " + list(missing)
	switch {
	case !effective.Allow(host.BPF) || !effective.Allow(host.Perfmon):
		e.add("capabilities", Less, is+": "+polled, "run as root, or the service with /usr/lib/socktally/flows.conf")
	case !effective.Allow(host.NetAdmin):
		e.add("capabilities", Less, is+": UDP and DNS are not counted", "add CAP_NET_ADMIN")
	case len(missing) > 0:
		e.addOK("capabilities", is+": DD_SERVICE and the like of other processes are not seen")
	default:
		e.addOK("capabilities", is)
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// cgroup looks for the cgroup v2 hierarchy. UDP is counted at its root.
func (e *examination) cgroup() {
	if !e.flowsOn() {
		return
	}
	mounts, err := e.host.Mounts()
	if err != nil {
		e.add("cgroup", Less, "unknown: "+err.Error(), "mount the proc file system")
		return
	}
	if at := mounts.Cgroup2(); at != "" {
		e.addOK("cgroup", "version 2 at "+at)
		return
	}
	e.add("cgroup", Less, "version 2 is not mounted: UDP and DNS are not counted", "mount it: mount -t cgroup2 none /sys/fs/cgroup; in a container, pass the host's on")
}

// namespace finds out whether this is the host's network namespace: only that one has settings for the whole kernel, such
// as tcp_max_orphans.
func (e *examination) namespace() {
	visible := func(name string) bool {
		_, err := os.Stat(filepath.Join(e.Proc, "sys/net/ipv4", name))
		return err == nil
	}
	scope := string(e.Config.Scope)
	switch whole := visible("tcp_max_orphans"); {
	case !whole && !visible("ip_local_port_range"):
		e.add("namespace", Less, "/proc/sys/net is not visible: there are no limits and no ratios", "take out ProcSubset=pid, or mount /proc/sys")
	case whole:
		e.addOK("namespace", "the host's, SOCKTALLY_SCOPE="+scope)
	case e.Config.Scope == metric.Host:
		e.add("namespace", Less, "a network namespace of its own, SOCKTALLY_SCOPE=host: what is counted for the whole kernel repeats the host's, without limits",
			"in a sidecar set SOCKTALLY_SCOPE=netns; for the host use its network (--network host, hostNetwork: true)")
	default:
		e.addOK("namespace", "a network namespace of its own, SOCKTALLY_SCOPE="+scope)
	}
}

// sockstat takes one reading.
func (e *examination) sockstat() {
	c, err := collector.New(e.Proc, e.Config.Scope)
	if err != nil {
		e.add("sockstat", Bad, err.Error(), "mount the proc file system")
		return
	}
	samples, err := c.Read(e.Now)
	text := fmt.Sprintf("%d metrics a reading", len(samples))
	switch {
	case err == nil:
		e.addOK("sockstat", text)
	case len(samples) == 0:
		e.add("sockstat", Bad, oneLine(err), "make the file readable")
	default:
		e.add("sockstat", Less, text+": "+oneLine(err), "make the file readable")
	}
}

// oneLine is the text of an error that may join several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// exists says whether there is something at path. If that cannot be found out, it says yes.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
