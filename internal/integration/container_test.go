package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// image is what the tests call the image that they build.
const image = "socktally:test"

// noTagsNoLine gives every line a tag: statsd_exporter 0.31.0 does not understand a line that has the
// sender's container and no tag.
const noTagsNoLine = "SOCKTALLY_TAGS=team:net"

// engine is a docker of its own, which touches nothing of this machine's network.
type engine struct {
	socket string
	group  string // the control group above its containers, which other engines of the test may use too
}

func startEngine(t *testing.T) engine {
	t.Helper()
	needRoot(t)
	dockerd := needTool(t, "dockerd")
	dir := shortDir(t)
	e := engine{dir + "/sock", groupOfTest(t)}
	daemon := start(t, nil, dockerd, "-H", "unix://"+e.socket, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid",
		"--cgroup-parent", "/"+e.group, "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none")
	// It ends what it started, and unmounts.
	t.Cleanup(func() {
		daemon.signal(t, syscall.SIGTERM)
		daemon.wait(t)
	})
	eventually(t, func() error {
		_, err := e.try("version")
		return err
	})
	return e
}

// command is the docker client for this engine, as make and shells want it.
func (e engine) command() string { return "/usr/bin/docker -H unix://" + e.socket }

func (e engine) try(args ...string) (string, error) {
	fields := strings.Fields(e.command())
	cmd := exec.Command(fields[0], append(fields[1:], args...)...)
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("docker %q: %w\n%s", args, err, &warnings)
	}
	return strings.TrimSpace(string(out)), err
}

func (e engine) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run starts a container that is removed when the test ends, and returns its id.
func (e engine) run(t *testing.T, args ...string) string {
	t.Helper()
	id := e.do(t, append([]string{"run", "--detach"}, args...)...)
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := exec.Command("/bin/sh", "-c", e.command()+" logs "+id+" 2>&1").Output()
			t.Logf("container %q:\n%s", args, tail(string(logs)))
		}
		if _, err := e.try("rm", "--force", id); err != nil {
			t.Error(err)
		}
	})
	return id
}

// buildImage makes the image as users do.
func (e engine) buildImage(t *testing.T) {
	t.Helper()
	mustMake(t, "image", "VERSION=test", "DIST="+t.TempDir(), "DOCKER="+e.command())
}

// TestSidecar runs the image beside a small server, in the server's network namespace.
func TestSidecar(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	e.buildImage(t)
	size := number(t, e.do(t, "image", "inspect", "--format", "{{.Size}}", image))
	t.Logf("the image has %.1f MB", size/1e6)
	if size > 20e6 {
		t.Errorf("the image has %.0f bytes, want 20 MB at most", size)
	}

	// The server is a statsd_exporter, which is the sidecar's receiver too.
	dir := t.TempDir()
	content, err := os.ReadFile(binary(t, statsdExporter))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "server"), content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.do(t, "build", "-q", "-t", "server:test", dir)
	server := e.run(t, "--network", "none", "server:test", "--statsd.listen-udp=127.0.0.1:8125", "--statsd.listen-tcp=", "--web.listen-address=127.0.0.1:9102")
	sidecar := e.run(t, "--network", "container:"+server, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--env", "SOCKTALLY_SCOPE=netns", "--env", "SOCKTALLY_SCHEDULE=@every 1s", "--env", "SOCKTALLY_FLOWS_SCHEDULE=@every 1s",
		"--env", "SOCKTALLY_FLOW_TAGS=server_port,source", "--env", noTagsNoLine, image)

	pid := e.do(t, "inspect", "--format", "{{.State.Pid}}", sidecar)
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "Uid:\t65532\t65532") || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
		t.Errorf("the sidecar is root or has capabilities:\n%s", status)
	}
	inside := func(script string) string {
		t.Helper()
		return mustRun(t, "nsenter", "--target", pid, "--net", "--", "/bin/bash", "-euc", script)
	}
	// A connection that is held after a first request, so that a poll for flows sees what it did.
	points := func() []point {
		t.Helper()
		return exporterPoints(t, inside(`exec 3<>/dev/tcp/127.0.0.1/9102
			printf 'GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n' >&3; sleep 3
			printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`))
	}
	eventually(t, func() error {
		all := points()
		if _, counted := flowValues(all, "socktally_flow_bytes_sent", map[string]string{"server_port": "9102"}); !counted {
			return errors.New("no flow to the server is counted")
		}
		for _, p := range all {
			if port, tagged := p.Labels["server_port"]; tagged && port != "9102" && port != "8125" {
				t.Fatalf("a flow of another namespace: %v", p)
			}
		}
		listening := find(all, "sockstat_tcp_inuse")
		own := inside("cat /proc/self/net/sockstat")
		// The held connection has two ends, and the server listens.
		if len(listening) != 1 || listening[0].Value != 3 {
			return fmt.Errorf("tcp.inuse is %v, want 3 beside\n%s", listening, own)
		}
		if whole := find(all, "sockstat_tcp_alloc"); len(whole) != 0 {
			t.Errorf("a sidecar sends what is counted for the whole kernel: %v", whole)
		}
		return nil
	})
}

// TestPodman counts the flows of this machine from a container that has the capabilities which the
// documentation names, and the shipped filter of system calls.
func TestPodman(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	needTool(t, "podman")
	e.buildImage(t)
	dir := shortDir(t)
	archive := filepath.Join(dir, "image.tar")
	e.do(t, "save", "--output", archive, image)

	podman := []string{"--root", dir + "/root", "--runroot", dir + "/run", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"}
	t.Cleanup(func() {
		// Its layers are mounted below its folder until it is told to forget them.
		if out, err := exec.Command("podman", append(podman, "system", "reset", "--force")...).CombinedOutput(); err != nil {
			t.Errorf("podman system reset: %v\n%s", err, out)
		}
	})
	mustRun(t, "podman", append(podman, "load", "--quiet", "--input", archive)...)

	profile, err := filepath.Abs("../../packaging/container/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	tree, _ := cgroupTrees(t)
	args := append(podman, "run", "--rm", "--network", "host", "--read-only", "--cgroup-parent", "/"+e.group,
		"--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768", // not above those of this machine
		"--cap-drop", "ALL", "--cap-add", "BPF", "--cap-add", "PERFMON", "--cap-add", "NET_ADMIN",
		"--security-opt", "seccomp="+profile, "--security-opt", "no-new-privileges",
		// Where the trees are of both versions, the engine does not show that of version 2.
		"--volume", tree+":"+tree+":ro")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}

	tracer := start(t, nil, needTool(t, "podman"), append(args, "localhost/"+image, "flows", "--json", "--interval", "1s")...)
	eventually(t, func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		c.Close()
		for line := range strings.Lines(tracer.stdout.String()) {
			var record struct {
				Source, Protocol string
				ServerPort       int    `json:"server_port"`
				Client           string `json:"client_process"`
			}
			if err := json.Unmarshal([]byte(line), &record); err == nil && record.ServerPort == wanted && record.Source == "ebpf" && record.Client != "" {
				return nil
			}
		}
		return fmt.Errorf("no flow to port %s by eBPF:\n%s", port, tail(tracer.stderr.String()))
	})
	eventually(t, func() error {
		c, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		if !strings.Contains(tracer.stdout.String(), `"protocol":"udp"`) {
			return fmt.Errorf("UDP is not counted:\n%s", tail(tracer.stderr.String()))
		}
		return nil
	})
	tracer.signal(t, syscall.SIGTERM)
	if code := tracer.wait(t); code != 0 {
		t.Errorf("podman ends with %d", code)
	}
}
