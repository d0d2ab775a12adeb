package flows

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"socktally/internal/host"
)

func FuzzProcTexts(f *testing.F) {
	f.Add("socket:[123]", "CapEff:\t000001fffeffffff\nSeccomp:\t2\n", "DD_SERVICE=web\x00DD_TAGS=a:b,c:d\x00")
	f.Fuzz(func(t *testing.T, target, status, environ string) {
		socketInode(target)
		startTicks(status)
		if id := parseEnviron([]byte(environ)); len(id.service) > maxName || len(strings.Join(id.tags, ",")) > maxTags {
			t.Errorf("%q gives %+v", environ, id)
		}
	})
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExplain(t *testing.T) {
	all := facts{release: "6.1.0-13-amd64", hasBTF: true, capabilities: host.AllCapabilities}
	with := func(change func(*facts)) facts {
		f := all
		change(&f)
		return f
	}
	bpfOnly := host.Capabilities(1) << unix.CAP_BPF
	eperm := fmt.Errorf("load program: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
	for _, tc := range []struct {
		name   string
		err    error
		facts  facts
		reason Reason
		text   string
	}{
		{"old kernel", eperm, with(func(f *facts) { f.release = "5.10.0-28-amd64" }), ReasonKernel, "5.10.0-28-amd64"},
		{"no BTF", errors.New("x"), with(func(f *facts) { f.hasBTF = false }), ReasonBTF, "BTF"},
		{"no capability", eperm, with(func(f *facts) { f.capabilities = 0 }), ReasonCapability, "CAP_BPF and CAP_PERFMON"},
		{"one capability", eperm, with(func(f *facts) { f.capabilities = bpfOnly }), ReasonCapability, "lacks CAP_PERFMON"},
		{"lockdown", errors.New("unknown helper"), with(func(f *facts) { f.lockdown = "confidentiality" }), ReasonLockdown, "lockdown"},
		{"seccomp", eperm, with(func(f *facts) { f.seccomp = true }), ReasonSeccomp, "seccomp"},
		{"one program by a filter", &refusedObject{"walk", "iter/x", eperm}, with(func(f *facts) { f.seccomp = true }), ReasonOther, "walk (iter/x): operation not permitted"},
		{"user namespace", eperm, with(func(f *facts) { f.userns = true }), ReasonUserNamespace, "user namespace"},
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

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Mode: "x"}, {Scope: "x"}, {MaxFlows: -1}, {MaxFlows: 1 << 30}} {
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	if o, err := (Options{}).withDefaults(); err != nil || o.Mode != Auto || o.Scope != Host || o.MaxFlows != DefaultMaxFlows {
		t.Errorf("got %+v, %v", o, err)
	}
}
