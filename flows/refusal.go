package flows

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Reason is what keeps the tracer from running.
type Reason string

const (
	ReasonKernel     Reason = "kernel"     // older than 5.12
	ReasonBTF        Reason = "btf"        // built without its own type information
	ReasonCapability Reason = "capability" // the process lacks a capability
	ReasonLockdown   Reason = "lockdown"   // kernel lockdown in confidentiality mode
	ReasonSeccomp    Reason = "seccomp"    // a filter on the process refuses bpf()
	ReasonCgroup     Reason = "cgroup"     // no control groups of version 2 (UDP only)
	ReasonOther      Reason = "other"      // see Err
)

// Refusal says why the kernel's tracer is not available here. Err is the first error met.
type Refusal struct {
	Reason Reason
	Text   string
	Err    error
}

func (r *Refusal) Error() string { return "trace flows by eBPF: " + r.Text }

func (r *Refusal) Unwrap() error { return r.Err }

// facts are what a refusal can follow from.
type facts struct {
	release      string
	hasBTF       bool
	capabilities uint64 // effective
	seccomp      bool   // a filter is installed
	lockdown     string // "none", "integrity", "confidentiality" or "" where it cannot be read
}

func readFacts(proc string) facts {
	f := facts{release: kernelRelease(), capabilities: ^uint64(0)}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	f.hasBTF = err == nil
	if text, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		if _, after, ok := strings.Cut(string(text), "["); ok {
			f.lockdown, _, _ = strings.Cut(after, "]")
		}
	}
	if text, err := os.ReadFile(filepath.Join(proc, "self/status")); err == nil {
		f.readStatus(string(text))
	}
	return f
}

func (f *facts) readStatus(status string) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch name {
		case "CapEff":
			if n, err := strconv.ParseUint(value, 16, 64); err == nil {
				f.capabilities = n
			}
		case "Seccomp":
			f.seccomp = value == "2"
		}
	}
}

func (f facts) has(capability uint) bool { return f.capabilities&(1<<capability) != 0 }

func (f facts) lacking() []string {
	if f.has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	var names []string
	if !f.has(unix.CAP_BPF) {
		names = append(names, "CAP_BPF")
	}
	if !f.has(unix.CAP_PERFMON) {
		names = append(names, "CAP_PERFMON")
	}
	return names
}

// explain finds what err comes from. The library's own text for a refusal blames a limit on locked
// memory, which kernels with all that the tracer needs do not have: it is left out.
func explain(err error, f facts) *Refusal {
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch lacking := f.lacking(); {
	case !releaseAtLeast(f.release, 5, 12):
		return &Refusal{ReasonKernel, fmt.Sprintf("kernel %s is older than 5.12", f.release), err}
	case !f.hasBTF:
		return &Refusal{ReasonBTF, "the kernel has no BTF (/sys/kernel/btf/vmlinux is missing)", err}
	case refused && len(lacking) > 0:
		return &Refusal{ReasonCapability, "the process lacks " + strings.Join(lacking, " and "), err}
	case f.lockdown == "confidentiality":
		return &Refusal{ReasonLockdown, "kernel lockdown is in confidentiality mode", err}
	case errors.Is(err, unix.EPERM) && f.seccomp:
		return &Refusal{ReasonSeccomp, "bpf() is refused although the capabilities are there: the process runs under a seccomp filter", err}
	case errors.Is(err, unix.EPERM):
		return &Refusal{ReasonOther, "bpf() is refused although the capabilities are there (a security module, or a user namespace other than the first)", err}
	}
	return &Refusal{ReasonOther, err.Error(), err}
}

// explainUDP finds what keeps UDP from being counted where TCP is.
func explainUDP(err error, f facts) *Refusal {
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case errors.Is(err, errNoCgroup2):
		return &Refusal{ReasonCgroup, "no control groups of version 2 are mounted", err}
	case refused && !f.has(unix.CAP_NET_ADMIN) && !f.has(unix.CAP_SYS_ADMIN):
		return &Refusal{ReasonCapability, "the process lacks CAP_NET_ADMIN", err}
	}
	return explain(err, f)
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// releaseAtLeast compares the first two numbers of a kernel release such as "6.1.0-13-cloud-amd64".
// A release that it cannot read is taken to be new.
func releaseAtLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return true
	}
	return a > major || a == major && b >= minor
}
