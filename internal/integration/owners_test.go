package integration

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const nginxConf = `
daemon off;
worker_processes 2;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
	uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen %[2]s; location / { return 200 "0123456789abcdef"; } }
}
`

// startNginx starts nginx with workers. It shows its title where its environment was.
func startNginx(t *testing.T, address string, env ...string) {
	t.Helper()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, address), 0o644); err != nil {
		t.Fatal(err)
	}
	nginx := start(t, env, needTool(t, "nginx"), "-c", conf, "-e", filepath.Join(dir, "error.log"))
	t.Cleanup(func() { // before it is killed, and its workers with it left alone
		nginx.signal(t, syscall.SIGTERM)
		nginx.wait(t)
	})
	eventually(t, func() error {
		_, err := get("http://" + address)
		return err
	})
}

// visit runs a program to its end, which is soon.
func visit(t *testing.T, env []string, path string, args ...string) {
	t.Helper()
	if p := start(t, env, path, args...); p.wait(t) != 0 {
		t.Errorf("%s %q ended with code %d: %s", path, args, p.code, p.stderr.String())
	}
}

// elsewhere runs a server and a client of it in network and process namespaces of their own.
const elsewhere = `ip link set lo up
DD_SERVICE=there-server SOCKTALLY_TEST_TALKER=serve "$0" >"$1/address" &
until grep -q : "$1/address"; do sleep 0.05; done
DD_SERVICE=there-client SOCKTALLY_TEST_TALKER="visit $(cat "$1/address") 5" "$0"
sleep 1000`

// docker starts an engine of the test's own, and returns a function that runs its client. The engine
// touches no rule of the host, and its containers share the test's network.
func docker(t *testing.T) func(args ...string) string {
	t.Helper()
	dir := shortDir(t)
	engine := start(t, nil, needTool(t, "dockerd"), "-H", "unix://"+dir+"/sock", "--data-root", dir+"/data", "--exec-root", dir+"/exec",
		"--pidfile", dir+"/pid", "--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none")
	t.Cleanup(func() { // before it is killed, which would leave what it started
		engine.signal(t, syscall.SIGTERM)
		engine.wait(t)
		if left := dir + "/exec/netns/default"; exists(left) { // which it leaves anyway
			if err := syscall.Unmount(left, 0); err != nil {
				t.Error(err)
			}
		}
	})
	run := func(args ...string) (string, error) {
		out, err := exec.Command("/usr/bin/docker", append([]string{"-H", "unix://" + dir + "/sock"}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	eventually(t, func() error {
		out, err := run("version")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("docker %q: %v: %s", args, err, out)
		}
		return out
	}
}

// visitFromContainer runs one of the host's programs to its end in a container that holds no more than
// the host's libraries, and returns the container's id.
func visitFromContainer(t *testing.T, env []string, path string, args ...string) string {
	t.Helper()
	run := docker(t)
	empty := filepath.Join(t.TempDir(), "empty.tar")
	if err := os.WriteFile(empty, make([]byte, 1024), 0o600); err != nil {
		t.Fatal(err)
	}
	run("import", empty, "empty")
	// The groups of its containers are put under one that the engine leaves, too.
	group := fmt.Sprintf("/socktally-test-%d", os.Getpid())
	t.Cleanup(func() {
		left, _ := filepath.Glob("/sys/fs/cgroup/*" + group)
		for _, dir := range append(left, "/sys/fs/cgroup"+group) {
			if err := os.Remove(dir); err != nil && exists(dir) {
				t.Error(err)
			}
		}
	})
	create := []string{"create", "--network=host", "--cgroup-parent=" + group}
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		if exists(dir) {
			create = append(create, "--volume="+dir+":"+dir+":ro")
		}
	}
	for _, e := range env {
		create = append(create, "--env="+e)
	}
	id := run(append(append(create, "empty", path), args...)...)
	run("start", "--attach", id)
	run("rm", id)
	return id
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestFlowsOfOwners has processes of every kind talk: servers with workers, clients that are gone at
// once, in containers and in other namespaces, with names that would be something else. What they are
// called is read from receivers of both kinds.
func TestFlowsOfOwners(t *testing.T) {
	if !inNamespace(t, socktally, statsdExporter, victoriaMetrics) {
		return
	}
	e, v := newExporter(t, "127.0.0.1").start(t), newVictoria(t).start(t)
	front := namedAddress + ":" + freePort(t, "tcp", namedAddress)
	d := startDaemon(t,
		"SOCKTALLY_FLOWS=ebpf", "SOCKTALLY_FLOWS_SCHEDULE=@every 1s", "SOCKTALLY_SCHEDULE=@every 1h",
		"SOCKTALLY_FLOW_TAGS=direction,protocol,service,env,process,container_id,remote,server_service,server_domain,dns_query,dns_qtype",
		"SOCKTALLY_FORWARD=dogstatsd,http", e.address(), "SOCKTALLY_HTTP_URL="+v.intake(), "DD_HOSTNAME=host-a", "DD_SERVICE=the-tally",
	)
	d.waitFor(t, msgFlows)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	// DNS names the server before anybody calls it.
	names := startTalker(t, "names 127.0.0.1:53", "DD_SERVICE=resolver")
	visit(t, []string{"DD_SERVICE=Asker", talkerVar + "=ask " + names + " front.invalid 7"}, self)
	visit(t, []string{"DD_SERVICE=Asker", talkerVar + "=ask " + names + " none.invalid 3"}, self)
	startNginx(t, front, "DD_SERVICE=Shop Front", "DD_ENV=prod")

	curl, url := needTool(t, "curl"), "http://"+front+"/"
	const buyers = 20
	for range buyers {
		visit(t, []string{"DD_SERVICE=buyer", "DD_ENV=prod"}, curl, "-s", "-o", "/dev/null", url)
	}
	large := []string{"DD_ENV=large", "A=" + strings.Repeat("x", 30<<10), "B=" + strings.Repeat("\xff", 30<<10), "DD_SERVICE=large-one"}
	visit(t, large, curl, "-s", "-o", "/dev/null", url)
	const hostileComm, hostileService = "c\n|#,a:b\x01\xff\x1b[2J", "evil\nsocktally.flow.reset:77777|c|#service:buyer,x\xff"
	hostile := filepath.Join(t.TempDir(), hostileComm)
	if err := os.Symlink(curl, hostile); err != nil {
		t.Fatal(err)
	}
	visit(t, []string{"DD_SERVICE=" + hostileService}, hostile, "-s", "-o", "/dev/null", url)
	visit(t, nil, hostile, "-s", "-o", "/dev/null", url)

	id := visitFromContainer(t, []string{"DD_SERVICE=boxed"}, curl, "-s", "-o", "/dev/null", "-H", "Connection: close", url+"[1-9]")
	start(t, nil, needTool(t, "unshare"), "--net", "--pid", "--fork", "--kill-child", "sh", "-c", elsewhere, self, t.TempDir())

	to := func(service, process string, more map[string]string) map[string]string {
		labels := map[string]string{
			"host": "host-a", "direction": "local", "protocol": "tcp", "service": service, "process": process, "env": "n/a", "container_id": "n/a",
			"remote": "front.invalid", "server_domain": "front.invalid", "server_service": "shop_front",
		}
		maps.Copy(labels, more)
		return labels
	}
	dns := func(name string) map[string]string {
		return map[string]string{
			"direction": "local", "protocol": "udp", "service": "asker", "server_service": "resolver", "remote": "127.0.0.1",
			"dns_query": name, "dns_qtype": "a", "container_id": "n/a",
		}
	}
	talker := comm(self)
	for _, want := range []struct {
		metric string
		labels map[string]string
		value  float64
	}{
		{"socktally.flow.closed", to("buyer", "curl", map[string]string{"env": "prod"}), buyers},
		{"socktally.flow.closed", to("large-one", "curl", map[string]string{"env": "large"}), 1},
		{"socktally.flow.closed", to("evil_socktally.flow.reset:77777_c_service:buyer_x", "c_a:b_2j", nil), 1},
		{"socktally.flow.closed", to("c_a:b_2j", "c_a:b_2j", nil), 1},
		{"socktally.flow.closed", to("boxed", "curl", map[string]string{"container_id": id}), 9},
		{"socktally.flow.bytes_sent", to("there-client", talker, map[string]string{"remote": "127.0.0.1", "server_domain": "n/a", "server_service": "there-server"}), 5 * askBytes},
		{"socktally.dns.total_requests", dns("front.invalid"), 7},
		{"socktally.dns.successful_responses", dns("front.invalid"), 7},
		{"socktally.dns.total_requests", dns("none.invalid"), 3},
		{"socktally.dns.responses.nxdomain", dns("none.invalid"), 3},
		{"socktally.dns.failures", dns("none.invalid"), 3},
	} {
		for receiver, read := range map[string]func() []point{
			statsdExporter:  func() []point { return dots(t, e.points(t)) },
			victoriaMetrics: func() []point { return v.points(t, "host-a") },
		} {
			eventually(t, func() error {
				points := read()
				if got, _ := flowValues(points, want.metric, want.labels); got != want.value {
					return fmt.Errorf("%s has %s%v = %v, want %v\n%v", receiver, want.metric, want.labels, got, want.value, find(points, want.metric))
				}
				return nil
			})
		}
	}
	latency, found := flowValues(dots(t, e.points(t)), "socktally.dns.success_latency.p99", dns("front.invalid"))
	if !found || latency <= 0 || latency > 15 {
		t.Errorf("the latency of DNS is %v", latency)
	}
	for _, p := range v.points(t, "host-a") {
		if p.Name == "socktally.flow.reset" && p.Value >= 77777 {
			t.Errorf("a process made up a value: %+v", p)
		}
		if strings.HasPrefix(p.Name, "socktally.dns.") && p.Labels["service"] == "the-tally" {
			t.Errorf("the daemon passes for an owner: %+v", p)
		}
	}
	if n := e.bad(t); n != 0 {
		t.Errorf("statsd_exporter could not read %v samples", n)
	}
	endsWell(t, d)
}

// comm is what the kernel calls a program.
func comm(path string) string {
	name := filepath.Base(path)
	return strings.ToLower(name[:min(len(name), 15)])
}
