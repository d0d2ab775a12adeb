// Command guest is the first process of a virtual machine: it mounts what socktally needs, counts a
// small traffic of its own beside socktally flows, once and run, prints both as one JSON object on the
// console, and turns the machine off. In a machine that carries a program of tests it runs that.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The traffic. The short connections end within the interval, the long one does not.
const (
	interval    = 10 * time.Second
	shorts      = 50
	shortUp     = 1000
	shortDown   = 2000
	longUp      = 1 << 20
	socktally   = "/socktally"
	resultLabel = "RESULT "
	visitor     = "visitor" // what the last of the short connections' process calls itself
)

func main() {
	if len(os.Args) > 2 { // for one that is gone when flows are tallied
		if err := exchange(os.Args[2], shortUp, shortDown); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 {
		if _, err := os.Stat(testProgram); err == nil {
			if err := runTests(); err != nil {
				fmt.Println("tests:", err)
			}
			return
		}
		fmt.Println(resultLabel + scenario())
		return
	}
	for _, m := range []struct{ fstype, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"},
	} {
		_ = os.MkdirAll(m.dir, 0o755)
		if err := syscall.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil {
			fmt.Println("mount", m.dir, err)
		}
	}
	for _, name := range []string{"inet_diag", "tcp_diag"} { // where the machine has no modprobe
		if err := loadModule(name); err != nil {
			fmt.Println("load", name, err)
		}
	}
	// A child sees the mounts from its start; some libraries look at /proc only then.
	child := exec.Command("/init", "scenario")
	child.Stdout, child.Stderr = os.Stdout, os.Stdout
	if err := child.Run(); err != nil {
		fmt.Println("scenario:", err)
	}
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// result is what the host's test reads.
type result struct {
	Kernel  string
	Log     string           // what socktally printed
	Sums    map[string]int64 // of all records, by protocol and name: "tcp.bytes_sent_by_client"
	Sources map[string]int
	Visits  int64 // connections of visitor
	// The size of a page in bytes; the memory of TCP in pages by the kernel, and in KiB by socktally once.
	PageSize, MemoryPages int
	MemoryKiB             float64
	Asked                 map[string]float64 // what the API says of the connection to askedServer
	AskedError            string             // why it last did not
	Error                 string
}

func scenario() string {
	r := result{Sums: map[string]int64{}, Sources: map[string]int{}}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	r.Kernel = strings.TrimSpace(string(release))
	if err := r.run(); err != nil {
		r.Error = err.Error()
	}
	b, _ := json.Marshal(r)
	return string(b)
}

func (r *result) run() error {
	if err := loopbackUp(); err != nil {
		return err
	}
	var servers []net.Listener
	for _, address := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go serve(l)
		servers = append(servers, l)
	}

	if err := serveUDP(); err != nil {
		return err
	}
	flows, err := r.startCounting()
	if err != nil {
		return err
	}
	questions, err := r.startCounting("--dns")
	if err != nil {
		return err
	}

	for i := range shorts - 1 {
		if err := exchange(servers[i%len(servers)].Addr().String(), shortUp, shortDown); err != nil {
			return err
		}
	}
	visit := exec.Command("/init", "visit", servers[0].Addr().String())
	visit.Env = []string{"PADDING=" + strings.Repeat("x", 20_000), "DD_SERVICE=" + visitor}
	if err := visit.Run(); err != nil {
		return fmt.Errorf("visit: %w", err)
	}
	long, err := net.Dial("tcp", servers[0].Addr().String())
	if err != nil {
		return err
	}
	defer long.Close()
	if _, err := long.Write(make([]byte, longUp)); err != nil {
		return err
	}

	if err := sendUDP(); err != nil {
		return err
	}
	if err := flows(); err != nil {
		return err
	}
	// Without the tracer there is no DNS, which is a failure only of the test on the host.
	if err := questions(); err != nil {
		r.Log += err.Error()
	}
	if err := r.read(); err != nil {
		return err
	}
	return r.ask()
}

// startCounting starts socktally flows and returns, once it counts, what waits for its end and adds
// what it printed to the result.
func (r *result) startCounting(args ...string) (func() error, error) {
	counting := exec.Command(socktally, append([]string{"flows", "--once", "--json", "--interval", interval.String()}, args...)...)
	var out bytes.Buffer
	counting.Stdout = &out
	log, err := counting.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := counting.Start(); err != nil {
		return nil, err
	}
	// The first line says that it counts, or why not.
	lines := bufio.NewReader(log)
	line, err := lines.ReadString('\n')
	r.Log += line
	if err != nil {
		return nil, fmt.Errorf("socktally flows printed %q: %w", line, err)
	}
	return func() error {
		rest, _ := io.ReadAll(lines)
		r.Log += string(rest)
		if err := counting.Wait(); err != nil {
			return err
		}
		return r.add(&out)
	}, nil
}

// add sums the records up.
func (r *result) add(records io.Reader) error {
	for d := json.NewDecoder(records); ; {
		var record map[string]any
		if err := d.Decode(&record); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for name, value := range record {
			if n, ok := value.(float64); ok {
				r.Sums[fmt.Sprint(record["protocol"], ".", name)] += int64(n)
			}
		}
		if closed, ok := record["tcp_closed_connections"].(float64); ok && record["client_service"] == visitor {
			r.Visits += int64(closed)
		}
		if source, ok := record["source"].(string); ok {
			r.Sources[source]++
		}
	}
}

// serve answers every connection that has sent shortUp bytes and ended its side with shortDown
// bytes, and reads on from others.
func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if n, err := io.Copy(io.Discard, c); err == nil && n == shortUp {
				_, _ = c.Write(make([]byte, shortDown))
			}
		}()
	}
}

func exchange(address string, up, down int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, up)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != int64(down) {
		err = fmt.Errorf("received %d bytes, want %d", n, down)
	}
	return err
}

// loadModule loads one of IPv4's modules that the machine carries, if it does.
func loadModule(name string) error {
	paths, err := filepath.Glob("/lib/modules/*/kernel/net/ipv4/" + name + ".ko")
	if err != nil || len(paths) == 0 {
		return err
	}
	f, err := os.Open(paths[0])
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
