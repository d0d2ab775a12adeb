package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A lab is two hosts on one wire, each a network namespace, and a thread on one CPU that makes their load.
type lab struct {
	client, server *namespace
	worker         *worker
	// cpu is the one that the load runs on.
	cpu int
}

const clientIP, serverIP = "10.99.0.1", "10.99.0.2"

// namespace is a network namespace without a name. It ends with its last thread, socket or descriptor.
type namespace struct {
	fd         int
	inhabitant *exec.Cmd
}

func newLab(cpu int) (*lab, error) {
	l := &lab{cpu: cpu}
	var err error
	if l.client, err = newNamespace(); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if l.server, err = newNamespace(); err != nil {
		l.close()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := l.wire(); err != nil {
		l.close()
		return nil, fmt.Errorf("connect two network namespaces: %w", err)
	}
	if l.worker, err = newWorker(l.client, cpu); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) wire() error {
	err := l.client.do(func() error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "c"}, PeerName: "s", PeerNamespace: netlink.NsFd(l.server.fd),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return linkUp("c", clientIP)
	})
	if err != nil {
		return err
	}
	if err := l.server.do(func() error { return linkUp("s", serverIP) }); err != nil {
		return err
	}
	for _, ns := range []*namespace{l.client, l.server} {
		// A connection is closed by its server first, so that TIME_WAIT takes none of the client's ports. Without a
		// small limit it would pile up for the first minute, and the first rounds would not be like the later ones.
		for name, value := range map[string]string{
			"tcp_max_tw_buckets": "4096", "ip_local_port_range": "1024 65535", "tcp_slow_start_after_idle": "0",
		} {
			if err := ns.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) close() {
	if l.worker != nil {
		l.worker.close()
	}
	for _, ns := range []*namespace{l.client, l.server} {
		if ns != nil {
			ns.close()
		}
	}
}

func newNamespace() (*namespace, error) {
	ns := &namespace{}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		if err := linkUp("lo", ""); err != nil {
			return err
		}
		// Other programs can find a namespace only if a process is in it.
		ns.inhabitant = exec.Command("sleep", "3600")
		return ns.inhabitant.Start()
	})
	if err != nil {
		if ns.fd > 0 {
			unix.Close(ns.fd)
		}
		return nil, err
	}
	return ns, nil
}

func (ns *namespace) close() {
	_ = ns.inhabitant.Process.Kill()
	_ = ns.inhabitant.Wait()
	unix.Close(ns.fd)
}

// onThread runs f on a new thread. The thread ends after f, so that a change of its namespace or CPU has no other effect.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- f()
	}()
	return <-result
}

// do runs f on a thread in the namespace. Sockets and processes made there stay there.
func (ns *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func linkUp(name, ip string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if ip != "" {
		address, err := netlink.ParseAddr(ip + "/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, address); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// worker is a thread in a namespace, on one CPU.
type worker struct {
	jobs    chan func() error
	results chan error
}

func newWorker(ns *namespace, cpu int) (*worker, error) {
	w := &worker{jobs: make(chan func() error), results: make(chan error)}
	go func() {
		runtime.LockOSThread()
		for f := range w.jobs {
			w.results <- f()
		}
	}()
	err := w.do(func() error {
		if err := pin(0, cpu); err != nil {
			return err
		}
		return unix.Setns(ns.fd, unix.CLONE_NEWNET)
	})
	return w, err
}

func (w *worker) do(f func() error) error {
	w.jobs <- f
	return <-w.results
}

func (w *worker) close() { close(w.jobs) }

// pin keeps a thread, 0 for the caller's, on one CPU.
func pin(thread, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		return fmt.Errorf("keep a thread on CPU %d: %w", cpu, err)
	}
	return nil
}

// hold keeps so many sockets open in the client's namespace, in processes of their own.
func (l *lab) hold(sockets int) (release func(), err error) {
	var holders []*helper
	release = func() {
		for _, h := range holders {
			h.end()
		}
	}
	const each = 16_000 // a process may have few more files open
	for left := sockets; left > 0; left -= each {
		err := l.client.do(func() error {
			h, err := startChild("hold", nil, strconv.Itoa(min(left, each)/2))
			if err == nil {
				holders = append(holders, h)
			}
			return err
		})
		if err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}
