package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const httpPort = "8080"

// newHTTP has wrk ask nginx in the other namespace for a small page, each time over a connection of its own. wrk
// knows no number of requests, only how long: a round takes a second.
func newHTTP(l *lab) (*load, error) {
	dir, err := os.MkdirTemp("", "socktally-bench")
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/errors;
events { worker_connections 512; }
http { access_log off; server { listen %[2]s:%[3]s backlog=512; location / { return 200 "well\n"; } } }
`, dir, serverIP, httpPort)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	nginx := exec.Command("nginx", "-p", dir, "-c", path, "-e", filepath.Join(dir, "errors"))
	if err := l.server.do(nginx.Start); err != nil {
		return nil, err
	}
	end := func() {
		_ = nginx.Process.Kill()
		_ = nginx.Wait()
		os.RemoveAll(dir)
	}
	time.Sleep(300 * time.Millisecond) // it has to listen
	done := 0
	return &load{
		run: func(int) error {
			wrk := exec.Command("wrk", "-t1", "-c8", "-d1", "-H", "Connection: close", "http://"+serverIP+":"+httpPort+"/")
			out, err := wrk.CombinedOutput()
			if err != nil {
				return fmt.Errorf("wrk: %w: %s", err, out)
			}
			done, err = requestsOf(string(out))
			return err
		},
		did:   func() int { return done },
		close: end,
	}, nil
}

var requestsLine = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)

// requestsOf is how many requests wrk says that it made, all of them well.
func requestsOf(said string) (int, error) {
	m := requestsLine.FindStringSubmatch(said)
	if m == nil || regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx)`).MatchString(said) {
		return 0, fmt.Errorf("wrk does not say that all its requests went well: %s", said)
	}
	n, err := strconv.Atoi(m[1])
	if err == nil && n == 0 {
		err = fmt.Errorf("wrk made no request: %s", said)
	}
	return n, err
}
