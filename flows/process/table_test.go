package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"socktally/record"
)

const (
	someID  = "0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"
	otherID = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
	podUID  = "5f6e1c9e-77aa-4b5e-9d3e-0123456789ab"
	podSpec = "pod5f6e1c9e_77aa_4b5e_9d3e_0123456789ab" // as systemd has it
)

func TestContainerOf(t *testing.T) {
	for path, want := range map[string]container{
		"":                          {},
		"/":                         {},
		"/system.slice/ssh.service": {},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope": {},
		"/docker/" + someID + "0": {},
		// Docker, by itself and by systemd, and one in another.
		"/docker/" + someID:                                                                      {id: someID},
		"/system.slice/docker-" + someID + ".scope":                                              {id: someID},
		"docker-" + someID + ".scope":                                                            {id: someID},
		"/system.slice/docker-" + someID + ".scope/init.scope":                                   {id: someID},
		"/docker/" + otherID + "/docker/" + someID + "/system.slice/x":                           {id: someID},
		"/user.slice/user-1000.slice/user@1000.service/docker.slice/docker-" + someID + ".scope": {id: someID},
		// podman, with and without root, by itself and by systemd.
		"/libpod_parent/libpod-" + someID:                                                                {id: someID},
		"/machine.slice/libpod-" + someID + ".scope/container":                                           {id: someID},
		"/machine.slice/libpod-conmon-" + someID + ".scope":                                              {},
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + someID + ".scope/container": {id: someID},
		// containerd without Kubernetes.
		"/default/" + someID:                         {id: someID},
		"/system.slice/nerdctl-" + someID + ".scope": {id: someID},
		// Kubernetes by itself, for each class of pod.
		"/kubepods/pod" + podUID + "/" + someID:                             {someID, podUID},
		"/kubepods/burstable/pod" + podUID + "/" + someID:                   {someID, podUID},
		"/kubepods/besteffort/pod" + podUID + "/" + someID:                  {someID, podUID},
		"/kubepods/besteffort/pod" + podUID + "/crio-" + someID:             {someID, podUID},
		"/kubepods/burstable/pod" + podUID:                                  {podUID: podUID},
		"/kubepods/burstable/pod0123456789abcdef0123456789abcdef/" + someID: {someID, "0123456789abcdef0123456789abcdef"},
		// Kubernetes by systemd, with containerd, CRI-O and Docker.
		"/kubepods.slice/kubepods-" + podSpec + ".slice/cri-containerd-" + someID + ".scope":                                      {someID, podUID},
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + podSpec + ".slice/cri-containerd-" + someID + ".scope":   {someID, podUID},
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" + podSpec + ".slice/crio-" + someID + ".scope":           {someID, podUID},
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" + podSpec + ".slice/crio-" + someID + ".scope/container": {someID, podUID},
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + podSpec + ".slice/crio-conmon-" + someID + ".scope":      {podUID: podUID},
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + podSpec + ".slice/docker-" + someID + ".scope":           {someID, podUID},
		"kubepods-burstable-" + podSpec + ".slice/cri-containerd-" + someID + ".scope":                                            {someID, podUID},
		// A node in a container, and a node where the kubelet uses systemd but containerd does not.
		"/docker/" + otherID + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-" + podSpec + ".slice/cri-containerd-" + someID + ".scope": {someID, podUID},
		"/system.slice/containerd.service/kubepods-burstable-" + podSpec + ".slice:cri-containerd:" + someID:                                      {someID, podUID},
		// /proc/PID/cgroup: version 1, hybrid and version 2.
		"12:memory:/docker/" + someID + "\n11:cpu,cpuacct:/docker/" + someID + "\n1:name=systemd:/docker/" + someID + "\n":     {id: someID},
		"3:pids:/kubepods/pod" + podUID + "/" + someID + "\n1:name=systemd:/kubepods/pod" + podUID + "/" + someID + "\n0::/\n": {someID, podUID},
		"0::/system.slice/docker-" + someID + ".scope\n":                                                                       {id: someID},
		"0::/../../" + someID + "\n": {id: someID},
	} {
		if got := containerOf(path); got != want {
			t.Errorf("%q: got %+v, want %+v", path, got, want)
		}
	}
}

func FuzzContainerOf(f *testing.F) {
	f.Add("/docker/" + someID)
	f.Add("/kubepods.slice/kubepods-" + podSpec + ".slice/crio-conmon-" + someID + ".scope")
	f.Fuzz(func(t *testing.T, path string) {
		c := containerOf(path)
		if c.id != "" && (len(c.id) != 64 || !strings.Contains(path, c.id)) {
			t.Errorf("%q gives %+v", path, c)
		}
		if n := len(c.podUID); n != 0 && n != 32 && n != 36 || strings.Contains(c.podUID, "_") {
			t.Errorf("%q gives %+v", path, c)
		}
	})
}

func TestParseEnviron(t *testing.T) {
	long := strings.Repeat("x", 500)
	for environ, want := range map[string]identity{
		"": {},
		"A=b\x00DD_SERVICE=shop\x00DD_ENV=prod\x00DD_VERSION=3\x00DD_TAGS=team:x,tier:y z:1\x00": {
			service: "shop", env: "prod", version: "3", tags: []string{"team:x", "tier:y", "z:1"}},
		"DD_SERVICE=first\x00DD_SERVICE=second\x00":                        {service: "first"},
		"DD_SERVICE=cut off":                                               {},
		"DD_SERVICE\x00XDD_SERVICE=x\x00DD_SERVICES=y\x00dd_service=z\x00": {},
		"DD_SERVICE=a=b\x00":                                               {service: "a=b"},
		"DD_SERVICE=\x00DD_ENV=\x00":                                       {},
		"DD_SERVICE=" + long + "\x00":                                      {service: long[:maxName]},
		"DD_SERVICE=x" + strings.Repeat("é", 150) + "\x00":                 {service: "x" + strings.Repeat("é", 99)}, // no é is cut in two
		"nginx: master process\x00\x00\x00\x00":                            {},
		"DD_TAGS=" + long + "," + long + "," + long + "\x00":               {tags: []string{long}},
		"DD_SERVICE=a\n|#,\xff\x1b[2J\x00":                                 {service: "a\n|#,\xff\x1b[2J"},
	} {
		got := parseEnviron([]byte(environ))
		if got.service != want.service || got.env != want.env || got.version != want.version || !slices.Equal(got.tags, want.tags) {
			t.Errorf("%.60q: got %+v", environ, got)
		}
	}
}

// process42 writes a directory of /proc for a process that began at so many ticks.
func process42(t *testing.T, proc, comm, environ string, ticks int) {
	dir := filepath.Join(proc, "42")
	write(t, filepath.Join(dir, "comm"), comm+"\n")
	write(t, filepath.Join(dir, "environ"), environ)
	write(t, filepath.Join(dir, "cgroup"), "1:cpu:/kubepods/pod"+podUID+"/"+someID+"\n")
	write(t, filepath.Join(dir, "stat"), fmt.Sprintf("42 (%s) S"+strings.Repeat(" 1", 18)+" %d 5 6\n", comm+") R 1 (", ticks))
}

func startAt(ns, executions uint64) uint64 { return ns>>startShift<<execBits | executions }

func TestOwnerFromProc(t *testing.T) {
	proc := t.TempDir()
	process42(t, proc, "web", "DD_SERVICE=shop\x00DD_ENV=prod\x00DD_TAGS=team:x\x00", 500)
	d := NewTable(proc, 8)
	for _, tc := range []struct {
		name    string
		o       Ref
		service string
	}{
		{"the one meant", Ref{PID: 42, StartID: startAt(5_004_000_000, 3), Comm: Comm{'w', 'e', 'b'}}, "shop"},
		{"by sock_diag", Ref{PID: 42, StartID: startIn(filepath.Join(proc, "42")), Comm: Comm{'w', 'e', 'b'}}, "shop"},
		{"of unknown start", Ref{PID: 42, Comm: Comm{'w', 'e', 'b'}}, "shop"},
		{"by another name", Ref{PID: 42, Comm: Comm{'d', 'b'}}, "db"},
		{"older, by the same name", Ref{PID: 42, StartID: startAt(4_980_000_000, 3), Comm: Comm{'w', 'e', 'b'}}, "web"},
		{"younger, by the same name", Ref{PID: 42, StartID: startAt(5_020_000_000, 3), Comm: Comm{'w', 'e', 'b'}}, "web"},
		{"gone", Ref{PID: 43, Comm: Comm{'w', 'e', 'b'}}, "web"},
		{"nobody", Ref{}, ""},
	} {
		got := d.Describe(tc.o)
		read := tc.service == "shop"
		if got.Service != tc.service || (got.Env == "prod") != read || (got.ContainerID == someID) != read || (got.PodUID == podUID) != read {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

func TestOwnerThatWasToldOf(t *testing.T) {
	proc := t.TempDir()
	process42(t, proc, "web", "DD_SERVICE=of-proc\x00", 500)
	d := NewTable(proc, 8)
	start := startAt(5_004_000_000, 3)
	of := func(start uint64) record.Owner {
		return d.Describe(Ref{PID: 42, StartID: start, CgroupID: 7, Comm: Comm{'w', 'e', 'b'}})
	}
	const environ = "A=b\x00DD_SERVICE=shop\x00"
	d.Learn(Snapshot{PID: 42, StartID: start + 1, CgroupID: 7, Environ: []byte(environ), Total: len(environ),
		Cgroup: "kubepods.slice/kubepods-" + podSpec + ".slice/cri-containerd-" + someID + ".scope"})
	if got := of(start + 1); got.Service != "shop" || got.ContainerID != someID || got.PodUID != podUID || got.Process != "web" ||
		got.Cgroup != "kubepods.slice/kubepods-"+podSpec+".slice/cri-containerd-"+someID+".scope" {
		t.Errorf("got %+v", got)
	}
	// With another number of executions it is another process.
	if got := of(start); got.Service != "of-proc" {
		t.Errorf("got %+v", got)
	}
	// What the programs could not read is read in /proc, and if that is another process, not at all.
	for _, tc := range []struct {
		start uint64
		total int
		copy  string
		want  string
	}{
		{start + 2, 100, "", "of-proc"},
		{startAt(9e9, 1), 100, "", "web"},
		{startAt(9e9, 2), 100, "DD_SERVICE=start-of-it\x00DD_ENV=pr", "start-of-it"},
		{startAt(9e9, 3), 0, "", "web"},
	} {
		d.Learn(Snapshot{PID: 42, StartID: tc.start, Environ: []byte(tc.copy), Total: tc.total})
		if got := of(tc.start); got.Service != tc.want || got.Env != "" {
			t.Errorf("%+v: got %+v", tc, got)
		}
	}
	// Cgroups of version 1 have no path in the tree of version 2.
	d.Learn(Snapshot{PID: 42, StartID: startAt(9e9, 4), Cgroup: "docker/" + someID})
	if got := of(startAt(9e9, 4)); got.ContainerID != someID {
		t.Errorf("got %+v", got)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	d := NewTable("/nonexistent", 1)
	for i := range 5 * minProcesses {
		d.Learn(Snapshot{PID: uint32(i), StartID: 1, CgroupID: uint64(i + 1), Cgroup: "x"})
	}
	if n := d.processes.Len(); n > 2*minProcesses {
		t.Errorf("%d processes", n)
	}
	if n := d.removedCgroups.Len(); n > 2*maxRemovedCgroups {
		t.Errorf("%d groups", n)
	}
}

func TestOwnStart(t *testing.T) {
	if start := startIn("/proc/self"); start == 0 || !isSameProcess("/proc/self", key{pid: uint32(os.Getpid()), startID: start}) {
		t.Errorf("this process began at %d", start)
	}
}

func FuzzProcTexts(f *testing.F) {
	f.Add("socket:[123]", "42 (a) S 1", "DD_SERVICE=web\x00DD_TAGS=a:b,c:d\x00")
	f.Fuzz(func(t *testing.T, target, stat, environ string) {
		socketInode(target)
		startTicks(stat)
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
