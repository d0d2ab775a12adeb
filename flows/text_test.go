package flows

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestContainerID(t *testing.T) {
	id, other := strings.Repeat("0a1b2c3d", 8), strings.Repeat("e", 64)
	for path, want := range map[string]string{
		"":                                      "",
		"/":                                     "",
		"/system.slice/nginx.service":           "",
		"/docker/" + id:                         id,
		"/system.slice/docker-" + id + ".scope": id,
		"/kubepods.slice/pod1.slice/cri-containerd-" + id + ".scope": id,
		"/docker/" + other + "/docker/" + id + "/init":               id,
		"12:memory:/docker/" + id + "\n11:cpu:/docker/" + id + "\n":  id,
		"/docker/" + id + "0":     "",
		"docker-" + id + ".scope": id,
	} {
		if got := containerID(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func FuzzContainerID(f *testing.F) {
	f.Add("/docker/" + strings.Repeat("0a1b2c3d", 8))
	f.Add("")
	f.Fuzz(func(t *testing.T, path string) {
		if id := containerID(path); id != "" && (len(id) != 64 || !strings.Contains(path, id)) {
			t.Errorf("%q gives %q", path, id)
		}
	})
}

func FuzzProcTexts(f *testing.F) {
	f.Add("socket:[123]", "CapEff:\t000001fffeffffff\nSeccomp:\t2\n", "DD_SERVICE=web\x00DD_TAGS=a:b,c:d\x00")
	f.Fuzz(func(t *testing.T, target, status, environ string) {
		socketInode(target)
		new(facts).readStatus(status)
		new(identity).fromEnviron([]byte(environ))
		releaseAtLeast(status, 5, 12)
	})
}

func TestIdentify(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "42")
	write(t, filepath.Join(dir, "comm"), "web\n")
	write(t, filepath.Join(dir, "environ"), "A=b\x00DD_SERVICE=shop\x00DD_ENV=prod\x00DD_VERSION=3\x00DD_TAGS=team:x,tier:y\x00")
	write(t, filepath.Join(dir, "cgroup"), "1:cpu:/docker/"+strings.Repeat("f", 64)+"\n")
	d := newDescriber(proc, 8, func(uint64) string { return "web.service" })

	got := d.describe(owned{pid: 42, comm: [16]byte{'w', 'e', 'b'}, cgroup: 7})
	if got.Service != "shop" || got.Env != "prod" || got.Version != "3" || len(got.Tags) != 2 || got.Process != "web" ||
		got.Cgroup != "web.service" || got.ContainerID != strings.Repeat("f", 64) {
		t.Errorf("got %+v", got)
	}
	// The process id belongs to another process now: its environment is not this owner's.
	if got := d.describe(owned{pid: 42, comm: [16]byte{'d', 'b'}}); got.Service != "db" || got.ContainerID != "" {
		t.Errorf("got %+v", got)
	}
	if got := d.describe(owned{}); got.PID != 0 || got.Service != "" {
		t.Errorf("got %+v", got)
	}
}

func TestCgroup2Mount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	write(t, path, "35 30 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"+
		"36 30 0:31 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n")
	if got := cgroup2Mount(path); got != "/sys/fs/cgroup/unified" {
		t.Errorf("got %q", got)
	}
	if got := cgroup2Mount(path + "x"); got != "" {
		t.Errorf("got %q", got)
	}
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
	all := facts{release: "6.1.0-13-amd64", hasBTF: true, capabilities: ^uint64(0)}
	with := func(change func(*facts)) facts {
		f := all
		change(&f)
		return f
	}
	bpfOnly := uint64(1) << unix.CAP_BPF
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
		{"refused", eperm, all, ReasonOther, "refused"},
		{"other", errors.New("no such map"), all, ReasonOther, "no such map"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := explain(tc.err, tc.facts)
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

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int, int](10)
	for i := range 1000 {
		c.put(i, i)
		if _, ok := c.get(0); !ok {
			t.Fatal("what is used is forgotten")
		}
		if n := len(c.younger) + len(c.older); n > 20 {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := c.get(5); ok {
		t.Error("what is not used is kept")
	}
}
