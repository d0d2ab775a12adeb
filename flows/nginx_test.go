package flows

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const nginxConf = `
daemon off;
worker_processes 2;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	log_format tally '$request_length $bytes_sent $connection';
	access_log %[1]s/access.log tally;
	keepalive_requests 100000;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
	uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen %[2]s:8080; location / { return 200 "0123456789abcdef"; } }
}
`

// The counts are compared with nginx's log, which has all its connections and bytes. wrk is the client.
func TestNginxAccessLog(t *testing.T) {
	needPrivilege(t)
	needProgram(t, "nginx", "wrk")
	for name, header := range map[string]string{"keep-alive": "keep-alive", "short connections": "close"} {
		t.Run(name, func(t *testing.T) {
			client, server := newWire(t)
			client.sysctl("ip_local_port_range", "1024 65535")
			counter := openFor(t, Options{Mode: EBPF})
			dir := t.TempDir()
			os.Chmod(dir, 0o755)
			conf := filepath.Join(dir, "conf")
			if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, serverIPv4), 0o600); err != nil {
				t.Fatal(err)
			}
			nginx := exec.Command("nginx", "-c", conf, "-e", filepath.Join(dir, "error.log"))
			server.do(nginx.Start)
			defer func() {
				nginx.Process.Signal(unix.SIGQUIT)
				nginx.Wait()
			}()
			server.awaitListener(8080)
			client.command("", "wrk", "-t2", "-c20", "-d2s", "-H", "Connection: "+header, "http://"+serverIPv4+":8080/")
			client.awaitEnd(8080)
			server.awaitEnd(8080)
			sum, records := tallyUntil(t, counter, 8080, 20)
			nginx.Process.Signal(unix.SIGQUIT)
			nginx.Wait()
			up, down, connections := readAccessLog(t, filepath.Join(dir, "access.log"))
			t.Logf("%d connections, %d bytes up, %d down", connections, up, down)
			// The log does not have the connection by which wrk checks that the server is there. At the end, wrk
			// resets its 20 connections. Then a request may be on the wire that is not in the log, and the log may
			// have an answer that nginx wrote but the kernel never sent.
			const slack = 21
			off := func(counted, logged uint64, each int64) bool {
				return max(int64(counted-logged), int64(logged-counted)) > slack*each
			}
			if sum.Established != sum.Closed || off(sum.Established, connections, 1) ||
				off(sum.BytesSentByClient, up, 100) || off(sum.BytesSentByServer, down, 300) {
				t.Errorf("got %+v", outcomeOf(sum))
			}
			for _, r := range records {
				if r.Client.Owner.Process != "wrk" || r.Server.Owner.Process != "nginx" {
					t.Errorf("got %+v", r)
				}
			}
			wantNoLosses(t, counter)
		})
	}
}

var logLine = regexp.MustCompile(`(?m)^(\d+) (\d+) (\d+)$`)

func readAccessLog(t *testing.T, path string) (up, down, connections uint64) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[uint64]bool)
	for _, m := range logLine.FindAllSubmatch(bytes.TrimSpace(text), -1) {
		var n [3]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(string(m[i+1]), 10, 64)
		}
		up, down = up+n[0], down+n[1]
		seen[n[2]] = true
	}
	return up, down, uint64(len(seen))
}
