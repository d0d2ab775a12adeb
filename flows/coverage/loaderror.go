package coverage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"socktally/internal/host"
)

// Reason is what keeps a part of the tracer from running.
type Reason string

const (
	ReasonKernel        Reason = "kernel"         // older than 5.12
	ReasonBTF           Reason = "btf"            // built without its own type information
	ReasonCapability    Reason = "capability"     // the process lacks a capability
	ReasonLockdown      Reason = "lockdown"       // kernel lockdown in confidentiality mode
	ReasonSeccomp       Reason = "seccomp"        // a filter on the process refuses bpf()
	ReasonUserNamespace Reason = "user_namespace" // capabilities in another one than the first count for nothing
	ReasonCgroup        Reason = "cgroup"         // no cgroup v2 hierarchy is mounted (UDP only)
	ReasonSockDiag      Reason = "sock_diag"      // sock_diag, which was asked for or is all there is, has no counts for it
	ReasonOther         Reason = "other"          // see Answer
)

// Refusal says what the kernel refused, and why if that is known.
type LoadError struct {
	Reason Reason
	// Name is the program or the map, and Kind where the program was to be attached or what kind of map it is:
	// "walk_storage" and "iter/bpf_sk_storage_map". Both are "" where it is not one alone.
	Name, Kind string
	// Answer is the kernel's own, such as "operation not permitted".
	Answer string
	// Because says why, "" where that is not known.
	Because string
	Err     error
}

func (r *LoadError) Error() string {
	var b strings.Builder
	if r.Name != "" {
		fmt.Fprintf(&b, "%s (%s): ", r.Name, r.Kind)
	}
	b.WriteString(r.Answer)
	if r.Because != "" {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(r.Because)
	}
	return b.String()
}

func (r *LoadError) Unwrap() error { return r.Err }

// Facts are what a refusal can follow from.
type Facts struct {
	release      string
	hasBTF       bool
	capabilities host.Capabilities
	seccomp      bool   // a filter is installed
	userns       bool   // the user namespace is not the first
	lockdown     string // "none", "integrity", "confidentiality" or "" where it cannot be read
}

// ReadFacts reads them. proc is where procfs is mounted.
func ReadFacts(proc string) Facts {
	h := host.Reader{Proc: proc}
	f := Facts{
		release: h.Release(), hasBTF: h.HasBTF(), lockdown: h.Lockdown(),
		userns: !h.InInitialUserNamespace(), capabilities: host.AllCapabilities,
	}
	if s, err := h.Status(); err == nil {
		f.capabilities, f.seccomp = s.Capabilities, s.SeccompFilter
	}
	return f
}

// lacking are the capabilities that are needed and not there.
func (f Facts) lacking(needsNetAdmin bool) []string {
	needed := []host.Capability{host.BPF, host.Perfmon}
	if needsNetAdmin {
		needed = append(needed, host.NetAdmin)
	}
	var names []string
	for _, c := range needed {
		if !f.capabilities.Allow(c) {
			names = append(names, c.String())
		}
	}
	return names
}

// RefusedObject is a program, or a map, that the kernel did not take.
type ObjectError struct {
	Name string
	Kind string // where the program was to be attached, or what kind of map it is
	Err  error
}

func (r *ObjectError) Error() string { return fmt.Sprintf("%s (%s): %v", r.Name, r.Kind, r.Err) }

func (r *ObjectError) Unwrap() error { return r.Err }

var (
	// ErrNoCgroup2 is why packets cannot be counted where there is no root to attach to.
	ErrNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted")
	// ErrSockDiag is why UDP is not counted where nothing but sock_diag counts.
	ErrSockDiag = errors.New("sock_diag has no counts for it")
)

// explain finds what err comes from. needsNetAdmin is whether the kernel wants that capability too.
func (f Facts) explain(err error, needsNetAdmin bool) *LoadError {
	r := &LoadError{Err: err}
	var object *ObjectError
	if errors.As(err, &object) {
		r.Name, r.Kind = object.Name, object.Kind
	}
	r.Reason, r.Because = f.reason(err, r.Name == "", needsNetAdmin)
	r.Answer = answerOf(err, r.Because != "")
	return r
}

// reason is why the kernel gave that answer. everything is whether it refused the first thing that it was asked for: a filter
// of system calls sees bpf(), and nothing of what a program is for.
func (f Facts) reason(err error, everything, needsNetAdmin bool) (Reason, string) {
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	lacking := f.lacking(needsNetAdmin)
	switch {
	case errors.Is(err, ErrNoCgroup2):
		return ReasonCgroup, ""
	case errors.Is(err, ErrSockDiag):
		return ReasonSockDiag, ""
	case !host.ReleaseAtLeast(f.release, 5, 12):
		return ReasonKernel, fmt.Sprintf("kernel %s is older than 5.12", f.release)
	case !f.hasBTF:
		return ReasonBTF, "the kernel has no BTF (/sys/kernel/btf/vmlinux is missing)"
	case refused && len(lacking) > 0:
		return ReasonCapability, "the process lacks " + strings.Join(lacking, " and ")
	case f.lockdown == "confidentiality":
		return ReasonLockdown, "kernel lockdown is in confidentiality mode"
	case refused && f.userns:
		return ReasonUserNamespace, "the process is in a user namespace other than the first"
	case errors.Is(err, unix.EPERM) && f.seccomp && everything:
		return ReasonSeccomp, "bpf() is refused although the capabilities are there: the process runs under a seccomp filter"
	}
	return ReasonOther, ""
}

// answerOf is the kernel's own answer. The library's text for EPERM blames a limit on locked memory, which
// kernels with all that the tracer needs do not have: it is left out. What the verifier found is of use only
// where the reason is not known.
func answerOf(err error, explained bool) string {
	var number unix.Errno
	var verifier *ebpf.VerifierError
	switch {
	case !explained && errors.As(err, &verifier):
		return "the verifier: " + verifier.Error()
	case errors.As(err, &number):
		return number.Error()
	}
	return err.Error()
}
