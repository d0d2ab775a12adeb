// Command bench measures socktally against references that run in turns with it on the same machine, and
// prints each result as a ratio, with the interval that holds it with 95 %. make bench runs it from the top
// folder.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"socktally/internal/bench/paired"
)

func main() {
	binary := flag.String("socktally", "bin/socktally", "the binary to measure")
	runs := flag.Int("runs", 200, "how often each way of one reading is run")
	idle := flag.Duration("idle", time.Minute, "how long a daemon idles before its memory is read")
	build := flag.Bool("build", false, "measure a build with empty caches and what each module adds, and nothing else")
	flag.Parse()
	installed, remove, err := install(*binary)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	defer remove()
	measures := []func() error{
		reading,
		func() error { return once(installed, *runs) },
		func() error { return memory(installed, *idle) },
		func() error { return size(*binary) },
	}
	if *build {
		measures = []func() error{cold, func() error { return modules(*binary) }}
	}
	var errs []error
	for _, measure := range measures {
		errs = append(errs, measure())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// install copies the binary as dpkg does, 32 KiB at a time. How a file was written decides how large the
// pieces are that the page cache has of it: in those of the linker, which are single pages, the same program
// starts a third slower, and in those of one large write it has twice the resident memory.
func install(binary string) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "socktally-bench-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, filepath.Base(binary))
	if err := copyFile(path, binary); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(content, 32<<10) {
		if _, err := f.Write(chunk); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// row prints a result, what it is compared with, their ratio and the target.
func row(what, value, than, reference, ratio, target string) {
	fmt.Printf("%-34s %12s   %-32s %12s   ratio %s   target %s\n", what, value, than, reference, ratio, target)
}

// seed is that of every order and every interval: one run is like another.
const seed = 1

// compare prints the medians of two ways that took turns, and how many times the second's the first's is.
func compare(what, than string, value, reference []float64, unit func(float64) string, target string) {
	r := paired.Ratio(value, reference, seed)
	row(what, unit(paired.Median(value)), than, unit(paired.Median(reference)), fmt.Sprintf("%.2f [%.2f, %.2f]", r.Mid, r.Low, r.High), target)
}

var benchLine = regexp.MustCompile(`(?m)^Benchmark\w+(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)

// reading runs the benchmarks of the collector.
func reading() error {
	dir, err := os.MkdirTemp("", "socktally-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "collector.test")
	if out, err := exec.Command("go", "test", "-c", "-o", program, "./collector").CombinedOutput(); err != nil {
		return fmt.Errorf("build the benchmark of the collector: %w\n%s", err, out)
	}
	benchmark := func(name string) func() (float64, error) {
		return func() (float64, error) {
			out, err := exec.Command(program, "-test.run=^$", "-test.bench=^"+name+"$", "-test.benchtime=50ms").CombinedOutput()
			m := benchLine.FindSubmatch(out)
			if err != nil || m == nil {
				return 0, fmt.Errorf("benchmark of the collector: %w\n%s", err, out)
			}
			return strconv.ParseFloat(string(m[1]), 64)
		}
	}
	const rounds = 25
	results, err := paired.Turns(rounds, seed, benchmark("BenchmarkRead"), benchmark("BenchmarkBareRead"))
	if err != nil {
		return err
	}
	compare("one reading, all files", "bare read of its files", results[0], results[1],
		func(ns float64) string { return fmt.Sprintf("%.1f us", ns/1000) }, "<= 4")
	return nil
}

// cost is what one run of a command took.
type cost struct{ wall, cpu float64 } // seconds

func run(env []string, name string, args ...string) (cost, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, said.Bytes())
	}
	wall := time.Since(began)
	// The children of a shell are part of its own times once it has waited for them.
	return cost{wall.Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}, nil
}

// once compares socktally once with the shell script, run in turns.
func once(binary string, runs int) error {
	udp, closeUDP, err := discardUDP()
	if err != nil {
		return err
	}
	defer closeUDP()
	web, closeWeb, err := discardHTTP()
	if err != nil {
		return err
	}
	defer closeWeb()
	state, err := os.MkdirTemp("", "socktally-bench-") // a run keeps what the kernel had counted for the next
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	const script = "internal/bench/once.sh"
	udpHost, udpPort, _ := net.SplitHostPort(udp)
	webHost, webPort, _ := net.SplitHostPort(web)

	const own, bash, curl = "socktally once by UDP", "bash, awk and /dev/udp", "bash, awk and curl"
	names := []string{own, bash, curl}
	commands := []func() (cost, error){
		func() (cost, error) {
			return run([]string{"DD_DOGSTATSD_URL=udp://" + udp, "DD_ENV=bench", "SOCKTALLY_STATE_DIR=" + state}, binary, "once", "--env-file", os.DevNull)
		},
		func() (cost, error) { return run(nil, "bash", script, "udp", udpHost, udpPort) },
		func() (cost, error) { return run(nil, "bash", script, "curl", webHost, webPort) },
	}
	wall := make([][]float64, len(names))
	var ways []func() (float64, error)
	for i, command := range commands {
		ways = append(ways, func() (float64, error) {
			c, err := command()
			wall[i] = append(wall[i], c.wall)
			return c.cpu, err
		})
	}
	const warmUp = 5
	cpu, err := paired.Turns(runs+warmUp, seed, ways...)
	if err != nil {
		return err
	}
	ms := func(s float64) string { return fmt.Sprintf("%.2f ms", s*1000) }
	for i, target := range map[int]string{1: "none", 2: "<= 0.35"} {
		compare(own+", CPU", names[i], cpu[0][warmUp:], cpu[i][warmUp:], ms, target)
		compare(own+", wall", names[i], wall[0][warmUp:], wall[i][warmUp:], ms, target)
	}
	return nil
}

// memory compares the daemon with node_exporter, both left alone but for a reading each 15 s.
func memory(binary string, idle time.Duration) error {
	udp, closeUDP, err := discardUDP()
	if err != nil {
		return err
	}
	defer closeUDP()
	daemon, stop, err := start([]string{"DD_DOGSTATSD_URL=udp://" + udp, "SOCKTALLY_FLOWS=off"}, binary, "run", "--env-file", os.DevNull)
	if err != nil {
		return err
	}
	defer stop()

	peer, err := exec.LookPath("prometheus-node-exporter")
	if err != nil {
		fmt.Println("prometheus-node-exporter is not installed: the memory of the daemon has no reference")
	}
	var exporter int
	var web string
	if peer != "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		web = l.Addr().String()
		l.Close()
		pid, stop, err := start(nil, peer, "--collector.disable-defaults", "--collector.sockstat", "--web.listen-address="+web)
		if err != nil {
			return err
		}
		defer stop()
		exporter = pid
	}

	ticker := time.NewTicker(15 * time.Second)
	defer ticker.Stop()
	for end := time.After(idle); ; {
		if peer != "" {
			if err := scrape(web); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
			continue
		case <-end:
		}
		break
	}
	own, err := resident(daemon)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("daemon, resident after %v", idle)
	if peer == "" {
		fmt.Printf("%-34s %12s   target <= 8 MB\n", what, mb(own))
		return nil
	}
	other, err := resident(exporter)
	if err != nil {
		return err
	}
	row(what, mb(own), "node_exporter, only sockstat", mb(other), fmt.Sprintf("%.2f", own/other), "<= 8 MB")
	return nil
}

// size compares the binary with node_exporter's.
func size(binary string) error {
	own, err := os.Stat(binary)
	if err != nil {
		return err
	}
	peer, err := exec.LookPath("prometheus-node-exporter")
	if err != nil {
		fmt.Printf("%-34s %12s   target <= 15 MB\n", "binary", mb(float64(own.Size())))
		return nil
	}
	other, err := os.Stat(peer)
	if err != nil {
		return err
	}
	row("binary", mb(float64(own.Size())), "node_exporter's, not static", mb(float64(other.Size())),
		fmt.Sprintf("%.2f", float64(own.Size())/float64(other.Size())), "<= 15 MB")
	return nil
}

func mb(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/1e6) }

// start starts a program and returns how to end it.
func start(env []string, name string, args ...string) (pid int, stop func(), err error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	return cmd.Process.Pid, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}, nil
}

// resident returns VmRSS in bytes.
func resident(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS: it has ended", pid)
}

// scrape reads the exporter's metrics, which it may not serve yet.
func scrape(address string) error {
	for tries := 0; ; tries++ {
		resp, err := http.Get("http://" + address + "/metrics")
		if err == nil {
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		}
		if tries == 50 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func discardUDP() (address string, stop func() error, err error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go func() {
		for b := make([]byte, 64<<10); ; {
			if _, _, err := c.ReadFrom(b); err != nil {
				return
			}
		}
	}()
	return c.LocalAddr().String(), c.Close, nil
}

func discardHTTP() (address string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})}
	go func() { _ = server.Serve(l) }()
	return l.Addr().String(), server.Close, nil
}
