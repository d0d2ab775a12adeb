package coverage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"socktally/internal/host"
)

// Reason is why a part of the tracer cannot run.
type Reason string

const (
	ReasonKernel        Reason = "kernel"         // older than 5.12
	ReasonBTF           Reason = "btf"            // the kernel is built without BTF
	ReasonCapability    Reason = "capability"     // the process lacks a capability
	ReasonLockdown      Reason = "lockdown"       // kernel lockdown in confidentiality mode
	ReasonSeccomp       Reason = "seccomp"        // a filter on the process refuses bpf()
	ReasonUserNamespace Reason = "user_namespace" // not the initial one, so capabilities do not count for the host
	ReasonCgroup        Reason = "cgroup"         // no cgroup v2 hierarchy is mounted (UDP only)
	ReasonSockDiag      Reason = "sock_diag"      // only sock_diag is used, and it has no counters for this part
	ReasonOther         Reason = "other"          // see Answer
)

// LoadError is a program or a map that the kernel refuses, and the cause if that is known.
type LoadError struct {
	Reason Reason
	// Name is the name of the program or the map, such as "walk_storage". Kind is where the program attaches, such as
	// "iter/bpf_sk_storage_map", or the type of the map. Both are "" if the error is not about a single one.
	Name, Kind string
	// Answer is the kernel's error, such as "operation not permitted".
	Answer string
	// Because is the cause, "" if it is not known.
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

// Facts are the properties of the host from which a LoadError can follow.
type Facts struct {
	release      string
	hasBTF       bool
	capabilities host.Capabilities
	seccomp      bool   // a filter is installed
	userns       bool   // the user namespace is not the initial one
	lockdown     string // "none", "integrity", "confidentiality", or "" if it cannot be read
}

// ReadFacts reads the facts of this host. proc is where procfs is mounted.
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

// lacking are the needed capabilities that the process does not have.
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

// ObjectError is the error of a program or a map that could not be loaded or attached.
type ObjectError struct {
	Name string
	Kind string // where the program attaches, or the type of the map
	Err  error
}

func (r *ObjectError) Error() string { return fmt.Sprintf("%s (%s): %v", r.Name, r.Kind, r.Err) }

func (r *ObjectError) Unwrap() error { return r.Err }

var (
	// ErrNoCgroup2 is why packets are not counted where there is no cgroup to attach to.
	ErrNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted")
	// ErrSockDiag is why UDP is not counted where only sock_diag is used.
	ErrSockDiag = errors.New("sock_diag has no counts for it")
)

// explain finds the cause of err. needsNetAdmin says that CAP_NET_ADMIN is needed too.
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

// reason is why the kernel gave that error. everything says that the first call of bpf() failed already: a seccomp filter
// does not know what a program is for, so it refuses all of them or none.
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

// answerOf is the kernel's error. The library's text for EPERM is left out: it blames a limit on locked memory, which
// kernels since 5.11 do not apply to BPF. The log of the verifier helps only if the reason is not known.
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
