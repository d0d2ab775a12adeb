package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A way is one way to count the flows of a load, or not to count them. start returns the function that ends the way and
// removes all that it made.
type way struct {
	name  string
	start func() (stop func() error, err error)
	// prepare is called before each round of a case, where it is not nil.
	prepare func(of *bench) error
}

const (
	off, on, noUDP, noDNS = "off", "on", "no-udp", "no-dns"
	empty, before         = "empty", "before"
	still, spin           = "still", "spin"
	pmacctd, softflowd    = "pmacctd", "softflowd"
)

var wayNames = []string{off, on, noUDP, noDNS, empty, still, spin, before, pmacctd, softflowd}

// never is a schedule that does not run during a measurement. walking runs once a second.
const never, walking = "0 0 1 1 *", "@every 1s"

// daemonWay is a socktally that does nothing but trace. Its environment is only what is given.
func daemonWay(name, binary string, cpu int, schedule string, settings ...string) way {
	return way{name: name, start: func() (func() error, error) {
		cmd := exec.Command(binary, "run", "--env-file", os.DevNull)
		cmd.Env = append([]string{
			"SOCKTALLY_FORWARD=stdout", "SOCKTALLY_SCHEDULE=" + never, "SOCKTALLY_STATE_DIR=/nonexistent",
			"SOCKTALLY_FLOWS=ebpf", "SOCKTALLY_FLOWS_SCHEDULE=" + schedule,
		}, settings...)
		stop, err := startDaemon(cmd, cpu)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", binary, err)
		}
		return stop, nil
	}}
}

// startDaemon returns when the daemon counts flows. It keeps it on one CPU, or on any for cpu < 0.
func startDaemon(cmd *exec.Cmd, cpu int) (stop func() error, err error) {
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	err = onThread(func() error {
		if cpu >= 0 {
			if err := pin(0, cpu); err != nil {
				return err
			}
		}
		return cmd.Start()
	})
	if err != nil {
		return nil, err
	}
	counts, ended := make(chan struct{}), make(chan string)
	go func() {
		var said strings.Builder
		for lines, told := bufio.NewScanner(log), false; lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if !told && strings.Contains(lines.Text(), "flows are counted") {
				told = true
				close(counts)
			}
		}
		ended <- said.String()
	}()
	select {
	case <-counts:
	case said := <-ended:
		_ = cmd.Wait()
		return nil, fmt.Errorf("it ended before it counted flows: %s: %s", cmd.ProcessState, said)
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		said := <-ended
		_ = cmd.Wait()
		return nil, fmt.Errorf("it does not say that it counts flows: %s", said)
	}
	return func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		said := <-ended
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd.Path, err, said)
		}
		return nil
	}, nil
}

// peerWay is another program that counts flows, which listens in the client's namespace.
func peerWay(l *lab, path string, args func(dir string) []string) way {
	return way{name: filepath.Base(path), start: func() (func() error, error) {
		dir, err := os.MkdirTemp("", "socktally-bench")
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(path, args(dir)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := l.client.do(cmd.Start); err != nil {
			os.RemoveAll(dir)
			return nil, fmt.Errorf("start %s: %w", path, err)
		}
		time.Sleep(300 * time.Millisecond) // it has to open the interfaces, and does not say when it has
		return func() error {
			defer os.RemoveAll(dir)
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("end %s: %w", path, err)
			}
			_ = cmd.Wait()
			return nil
		}, nil
	}}
}

// peers are those that are installed.
func peers(l *lab) (ways []way) {
	for name, args := range map[string]func(dir string) []string{
		pmacctd: func(dir string) []string {
			return []string{"-i", "any", "-P", "memory", "-p", filepath.Join(dir, "pipe"), "-c", "src_host,dst_host,src_port,dst_port,proto"}
		},
		softflowd: func(dir string) []string {
			return []string{"-d", "-i", "any", "-n", "127.0.0.1:9", "-p", filepath.Join(dir, "pid"), "-c", filepath.Join(dir, "ctl")}
		},
	} {
		if path, err := exec.LookPath(name); err == nil {
			ways = append(ways, peerWay(l, path, args))
		}
	}
	slices.SortFunc(ways, func(a, b way) int { return strings.Compare(a.name, b.name) })
	return ways
}

// ways are all that can be measured here.
func (o *options) ways(l *lab) []way {
	all := []way{
		{name: off, start: func() (func() error, error) { return func() error { return nil }, nil }},
		daemonWay(on, o.binary, -1, never),
		daemonWay(noUDP, o.binary, -1, never, "SOCKTALLY_FLOWS_UDP=off"),
		daemonWay(noDNS, o.binary, -1, never, "SOCKTALLY_DNS_PORTS=none"),
		emptyWay(),
	}
	if o.spin > 0 {
		all = append(all, stillWay(), spinWay(o.spin/100))
	}
	if o.before != "" {
		all = append(all, daemonWay(before, o.before, -1, never))
	}
	return append(all, peers(l)...)
}

// walkingWays returns the ways that are measured beside many open sockets. They read all sockets once a second, on the
// CPU of the load.
func (o *options) walkingWays(l *lab) []way {
	all := []way{o.ways(l)[0], daemonWay(on, o.binary, l.cpu, walking)}
	if o.before != "" {
		all = append(all, daemonWay(before, o.before, l.cpu, walking))
	}
	return all
}
