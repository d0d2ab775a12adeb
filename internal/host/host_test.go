package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// reader reads proc and sys file systems with these files.
func reader(t testing.TB, files map[string]string) Reader {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Reader{Proc: filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys")}
}

func TestKernel(t *testing.T) {
	r := reader(t, map[string]string{
		"proc/sys/kernel/osrelease":    "6.1.0-13-amd64\n",
		"sys/kernel/btf/vmlinux":       "",
		"sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
	})
	if got := r.Release(); got != "6.1.0-13-amd64" {
		t.Errorf("release %q", got)
	}
	if !r.HasBTF() || r.Lockdown() != "integrity" {
		t.Errorf("BTF %v, lockdown %q", r.HasBTF(), r.Lockdown())
	}
	none := reader(t, map[string]string{"sys/kernel/security/lockdown": "none integrity\n"})
	if none.HasBTF() || none.Lockdown() != "" {
		t.Errorf("BTF %v, lockdown %q", none.HasBTF(), none.Lockdown())
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if got, want := none.Release(), unix.ByteSliceToString(u.Release[:]); got != want {
		t.Errorf("without osrelease: %q, want %q", got, want)
	}
}

func TestReleaseAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"5.12.0": true, "5.12": true, "5.11.22-generic": false, "4.19.0": false, "6.1.0-13-cloud-amd64": true, "10.0": true, "": true, "new": true,
	} {
		if got := ReleaseAtLeast(release, 5, 12); got != want {
			t.Errorf("%q is at least 5.12: %v", release, got)
		}
	}
}

func TestStatus(t *testing.T) {
	r := reader(t, map[string]string{
		"proc/self/status": "Name:\tCapEff: 0\nCapEff:\t0000004000000000\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n",
		"proc/42/status":   "CapEff:\t0000000000200000\nSeccomp:\t1\n",
		"proc/43/status":   "CapEff:\tmany\n",
	})
	s, err := r.Status()
	if err != nil || s != (Status{1 << unix.CAP_PERFMON, true}) {
		t.Errorf("got %+v, %v", s, err)
	}
	r.Process = "42"
	s, err = r.Status()
	if err != nil || s != (Status{1 << unix.CAP_SYS_ADMIN, false}) {
		t.Errorf("got %+v, %v", s, err)
	}
	r.Process = "43"
	if _, err = r.Status(); err == nil || !strings.Contains(err.Error(), `43/status: CapEff is "many"`) {
		t.Errorf("got %v", err)
	}
	r.Process = "44"
	if _, err = r.Status(); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

func TestAllow(t *testing.T) {
	all := []Capability{NetAdmin, SysPtrace, SysAdmin, Perfmon, BPF}
	for _, tc := range []struct {
		held Capabilities
		want []Capability
	}{
		{0, nil},
		{1 << BPF, []Capability{BPF}},
		{1<<NetAdmin | 1<<SysPtrace, []Capability{NetAdmin, SysPtrace}},
		{1 << SysAdmin, []Capability{NetAdmin, SysAdmin, Perfmon, BPF}},
		{AllCapabilities, all},
	} {
		var got []Capability
		for _, c := range all {
			if tc.held.Allow(c) {
				got = append(got, c)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%x allows %v, want %v", uint64(tc.held), got, tc.want)
		}
	}
	if got := Capability(0).String(); got != "capability 0" {
		t.Errorf("got %q", got)
	}
}

func TestUserNamespace(t *testing.T) {
	for uidMap, want := range map[string]bool{
		"         0          0 4294967295\n": true, "         0       1000          1\n": false, "": false,
	} {
		if got := reader(t, map[string]string{"proc/self/uid_map": uidMap}).InInitialUserNamespace(); got != want {
			t.Errorf("%q: got %v", uidMap, got)
		}
	}
	if !reader(t, nil).InInitialUserNamespace() {
		t.Error("without a uid_map it is another one")
	}
}

func TestLimit(t *testing.T) {
	r := reader(t, map[string]string{"proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max open files            1024                 1048576              files     \n" +
		"Max locked memory         unlimited            unlimited            bytes     \n" +
		"Max nice priority\n"})
	for name, want := range map[string]string{"Max open files": "1024", "Max locked memory": "unlimited", "Max nice priority": "", "Max pending signals": ""} {
		if got := r.Limit(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := reader(t, nil).Limit("Max open files"); got != "" {
		t.Errorf("without the file: %q", got)
	}
}

func TestMounts(t *testing.T) {
	r := reader(t, map[string]string{"proc/self/mountinfo": "35 30 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\nbad\n\n" +
		"36 30 0:31 / /sys/fs/cgroup/uni\\040fied rw,nosuid shared:9 - cgroup2 cgroup2 rw\n" +
		"37 30 0:4 net:[4026532] /run/netns/a rw shared:1 - nsfs nsfs rw\n"})
	if got := r.Cgroup2(); got != "/sys/fs/cgroup/uni fied" {
		t.Errorf("got %q", got)
	}
	if got, err := r.Mounts(); err != nil || len(got) != 3 || got[2] != (Mount{"nsfs", "net:[4026532]", "/run/netns/a"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	r.Proc += "x"
	if got := r.Cgroup2(); got != "" {
		t.Errorf("got %q", got)
	}
	if _, err := r.Mounts(); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

// TestThisHost reads the real files and compares them with other sources.
func TestThisHost(t *testing.T) {
	var r Reader
	s, err := r.Status()
	if err != nil {
		t.Fatal(err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	if want := Capabilities(data[1].Effective)<<32 | Capabilities(data[0].Effective); s.Capabilities != want {
		t.Errorf("capabilities %x, want %x", uint64(s.Capabilities), uint64(want))
	}
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err == nil && s.SeccompFilter != (mode == unix.SECCOMP_MODE_FILTER) {
		t.Errorf("filter %v, the kernel says mode %d", s.SeccompFilter, mode)
	}
	if r.Release() == "" || r.Limit("Max open files") == "" {
		t.Errorf("release %q, open files %q", r.Release(), r.Limit("Max open files"))
	}
	if mounts, err := r.Mounts(); err != nil || len(mounts) == 0 {
		t.Errorf("mounts %v, %v", mounts, err)
	}
}

func FuzzTexts(f *testing.F) {
	f.Add("CapEff:\t000001fffeffffff\nSeccomp:\t2\n", "37 30 0:4 net:[4026532] /run/netns/a rw shared:1 - nsfs nsfs rw\n", "6.1.0")
	f.Fuzz(func(t *testing.T, status, mountinfo, release string) {
		if s, err := parseStatus(status); err != nil && s != (Status{}) {
			t.Errorf("%q gives %+v and %v", status, s, err)
		}
		for _, m := range parseMounts(mountinfo) {
			if m.Root == "" || m.Point == "" {
				t.Errorf("%q gives %+v", mountinfo, m)
			}
		}
		if old := !ReleaseAtLeast(release, 5, 12); old && ReleaseAtLeast(release, 6, 0) {
			t.Errorf("%q is older than 5.12 and not older than 6.0", release)
		}
	})
}
