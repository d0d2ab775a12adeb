package coverage

import (
	"errors"
	"fmt"
	"socktally/internal/host"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	all := Facts{release: "6.1.0-13-amd64", hasBTF: true, capabilities: host.AllCapabilities}
	with := func(change func(*Facts)) Facts {
		f := all
		change(&f)
		return f
	}
	bpfOnly := host.Capabilities(1) << unix.CAP_BPF
	eperm := fmt.Errorf("load program: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
	for _, tc := range []struct {
		name   string
		err    error
		facts  Facts
		reason Reason
		text   string
	}{
		{"old kernel", eperm, with(func(f *Facts) { f.release = "5.10.0-28-amd64" }), ReasonKernel, "5.10.0-28-amd64"},
		{"no BTF", errors.New("x"), with(func(f *Facts) { f.hasBTF = false }), ReasonBTF, "BTF"},
		{"no capability", eperm, with(func(f *Facts) { f.capabilities = 0 }), ReasonCapability, "CAP_BPF and CAP_PERFMON"},
		{"one capability", eperm, with(func(f *Facts) { f.capabilities = bpfOnly }), ReasonCapability, "lacks CAP_PERFMON"},
		{"lockdown", errors.New("unknown helper"), with(func(f *Facts) { f.lockdown = "confidentiality" }), ReasonLockdown, "lockdown"},
		{"seccomp", eperm, with(func(f *Facts) { f.seccomp = true }), ReasonSeccomp, "seccomp"},
		{"one program by a filter", &ObjectError{Name: "walk", Kind: "iter/x", Err: eperm}, with(func(f *Facts) { f.seccomp = true }), ReasonOther, "walk (iter/x): operation not permitted"},
		{"user namespace", eperm, with(func(f *Facts) { f.userns = true }), ReasonUserNamespace, "user namespace"},
		{"refused", eperm, all, ReasonOther, "operation not permitted"},
		{"other", errors.New("no such map"), all, ReasonOther, "no such map"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.facts.explain(tc.err, false)
			if got.Reason != tc.reason || !strings.Contains(got.Error(), tc.text) {
				t.Errorf("got %q: %v", got.Reason, got)
			}
			if strings.Contains(got.Error(), "MEMLOCK") {
				t.Errorf("got %v", got)
			}
			if !errors.Is(got, tc.err) {
				t.Error("the cause is lost")
			}
		})
	}
}
