package flows

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"socktally/flows/trace"
	"socktally/internal/bench/paired"
)

// hold starts processes in the namespace that keep the given number of sockets open.
func (ns *namespace) hold(sockets int) {
	const each = 16000
	var ready []func()
	for left := sockets; left > 0; left -= each {
		_, out := ns.child("hold", nil, strconv.Itoa(min(left, each)/2))
		ready = append(ready, func() {
			if line, err := out.ReadString('\n'); err != nil {
				ns.t.Fatalf("%q: %v", line, err)
			}
		})
	}
	for _, wait := range ready {
		wait()
	}
}

// crowd starts processes in the namespace that do nothing but keep these files open.
func (ns *namespace) crowd(processes int, files []*os.File) {
	for range processes {
		cmd := exec.Command("sleep", "3600")
		cmd.ExtraFiles = files
		ns.do(cmd.Start)
		ns.t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
}

func devNull(b *testing.B, n int) []*os.File {
	files := make([]*os.File, n)
	for i := range files {
		f, err := os.Open(os.DevNull)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		files[i] = f
	}
	return files
}

// scenes are hosts on which a walk has different costs.
var scenes = []struct {
	name  string
	scope Scope
	set   func(b *testing.B, ns *namespace)
}{
	{"10000 sockets", NetNS, func(b *testing.B, ns *namespace) { ns.hold(10_000) }},
	{"100000 sockets", NetNS, func(b *testing.B, ns *namespace) { ns.hold(100_000) }},
	{"5000 processes of 100 files", NetNS, func(b *testing.B, ns *namespace) {
		ns.hold(1000)
		ns.crowd(5000, devNull(b, 100))
	}},
	{"200000 files in 20 processes", NetNS, func(b *testing.B, ns *namespace) {
		ns.hold(1000)
		ns.crowd(20, devNull(b, 10_000))
	}},
	{"1000 workers that share 500 sockets", NetNS, func(b *testing.B, ns *namespace) {
		ns.crowd(1000, ns.sharedSockets(b, 500))
	}},
	{"50 namespaces of 200 sockets", Host, func(b *testing.B, ns *namespace) {
		for range 50 {
			newNamespace(b).hold(200)
		}
	}},
}

// sharedSockets returns both ends of connections, as files.
func (ns *namespace) sharedSockets(b *testing.B, n int) []*os.File {
	var files []*os.File
	l := ns.listen("tcp4", "127.0.0.1:0")
	for range n / 2 {
		client := ns.dial("tcp4", l.Addr().String())
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range []interface{ File() (*os.File, error) }{client, server.(interface{ File() (*os.File, error) })} {
			f, err := c.File()
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { f.Close() })
			files = append(files, f)
		}
		server.Close()
	}
	return files
}

// BenchmarkWalk compares each kind of walk with the usual way to list all sockets of one namespace. It measures walks where
// all sockets have new traffic, and walks where none has.
func BenchmarkWalk(b *testing.B) {
	for _, scene := range scenes {
		b.Run(strings.ReplaceAll(scene.name, " ", "_"), func(b *testing.B) {
			ns := newNamespace(b)
			counters := make([]*Counter, len(walkFallbacks)-1) // the last one does not walk
			for i := range counters {
				counters[i] = openIn(b, ns, Options{Mode: EBPF, Scope: scene.scope, NoUDP: true, loadFaults: walkFallbacks[i].refuse})
			}
			scene.set(b, ns)
			time.Sleep(time.Second) // until the processes are idle
			for b.Loop() {
				timed := func(f func() error) (took float64) {
					b.Helper()
					ns.do(func() error {
						start := time.Now()
						err := f()
						took = float64(time.Since(start).Nanoseconds())
						return err
					})
					return took
				}
				walks := []func() (float64, error){func() (float64, error) { return timed(readProcNetTCP), nil }}
				for i, c := range counters {
					walk := c.tcp.(*trace.TCP).Walk
					b.ReportMetric(timed(walk)/1e6, walkName(i)+"-changed-ms")
					walks = append(walks, func() (float64, error) { return timed(walk), nil })
				}
				results, err := paired.Turns(rounds, 1, walks...)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(paired.Median(results[0])/1e6, "procnettcp-ms")
				for i := range counters {
					b.ReportMetric(paired.Median(results[i+1])/1e6, walkName(i)+"-idle-ms")
					part := paired.Ratio(results[i+1], results[0], 1)
					b.ReportMetric(part.Low, walkName(i)+"-idle-low-ratio")
					b.ReportMetric(part.High, walkName(i)+"-idle-high-ratio")
				}
			}
		})
	}
}

func walkName(rung int) string { return strings.ReplaceAll(walkFallbacks[rung].name, " ", "_") }

func readProcNetTCP() error {
	f, err := os.Open("/proc/thread-self/net/tcp")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<16))
	return err
}
