package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"socktally/internal/bench/paired"
	"socktally/internal/host"
)

// attached are programs, and their links in the same order.
type attached struct {
	programs []*ebpf.Program
	links    []link.Link
}

func (a *attached) close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	for _, p := range a.programs {
		errs = append(errs, io.Closer(p).Close())
	}
	return errors.Join(errs...)
}

// emptyWay attaches programs that do nothing at the places of socktally's programs. Its cost is the kernel's own part.
func emptyWay() way {
	return way{name: empty, start: func() (func() error, error) {
		a, err := attachEmpty()
		if err != nil {
			return nil, err
		}
		return a.close, nil
	}}
}

// attachEmpty attaches programs that do nothing. The first is the one for packets that are sent.
func attachEmpty() (*attached, error) {
	a := &attached{}
	for _, where := range []ebpf.AttachType{ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetSockCreate} {
		kind := ebpf.CGroupSKB
		if where == ebpf.AttachCGroupInetSockCreate {
			kind = ebpf.CGroupSock
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: kind, AttachType: where, License: "GPL", Instructions: nothing(1)})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("load an empty program: %w", err), a.close())
		}
		a.programs = append(a.programs, p)
		l, err := link.AttachCgroup(link.CgroupOptions{Path: host.Reader{}.Cgroup2(), Attach: where, Program: p})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach an empty program to %v: %w", where, err), a.close())
		}
		a.links = append(a.links, l)
	}
	for range 3 { // as many as socktally has there
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state", License: "GPL", Instructions: nothing(0),
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("load an empty program: %w", err), a.close())
		}
		a.programs = append(a.programs, p)
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach an empty program to inet_sock_set_state: %w", err), a.close())
		}
		a.links = append(a.links, l)
	}
	return a, nil
}

func nothing(result int32) asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, result), asm.Return()}
}

// stillWay and spinWay are like emptyWay, but the program for sent packets runs a loop: in stillWay once, in spinWay so
// often that an operation takes longer by a known part.
func stillWay() way {
	return packetWay(still, func(*bench) (*ebpf.Program, error) { return turns(1) })
}

func spinWay(part float64) way {
	return packetWay(spin, func(b *bench) (*ebpf.Program, error) {
		n, err := b.turnsFor(part)
		if err != nil {
			return nil, fmt.Errorf("find out how long to spin for %s: %w", b.name, err)
		}
		return turns(n)
	})
}

// packetWay is empty, but for a program at each packet that is sent, which is made once for each case.
func packetWay(name string, program func(*bench) (*ebpf.Program, error)) way {
	var a *attached
	return way{
		name: name,
		start: func() (func() error, error) {
			var err error
			if a, err = attachEmpty(); err != nil {
				return nil, err
			}
			return a.close, nil
		},
		prepare: func(b *bench) error {
			if b.programs[name] == nil {
				p, err := program(b)
				if err != nil {
					return err
				}
				b.programs[name] = p
			}
			return a.links[0].Update(b.programs[name])
		},
	}
}

// turns returns a program that runs a loop n times. It reads the clock before and after the loop, because the processor
// then waits for all earlier instructions. Otherwise the processor runs the code after the loop at the same time, and a
// loop of less than a hundred nanoseconds seems to cost nothing.
func turns(n int) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: "GPL",
		Instructions: asm.Instructions{
			asm.FnKtimeGetNs.Call(),
			asm.Mov.Imm(asm.R1, int32(n)),
			asm.Mul.Imm(asm.R0, 13).WithSymbol("turn"),
			asm.Sub.Imm(asm.R1, 1),
			asm.JNE.Imm(asm.R1, 0, "turn"),
			asm.FnKtimeGetNs.Call(),
			asm.Mov.Imm(asm.R0, 1),
			asm.Return(),
		},
	})
}

// turnsFor is how many turns take a part of an operation's time: from how many packets an operation sends and how
// long they take when run over and over. Neither is taken from what is to be found.
func (b *bench) turnsFor(part float64) (int, error) {
	var took []float64
	for range 3 {
		m, err := b.round() // with empty programs
		if err != nil {
			return 0, err
		}
		took = append(took, m[cpuTime])
	}
	operation := paired.Median(took)
	packets, err := b.packets()
	if err != nil {
		return 0, err
	}
	n, more, err := turnsOf(part * operation / packets)
	b.added = more * packets / operation
	return n, err
}

// turnsOf is how many turns take so many nanoseconds more than one, and how many they take when run over and over.
func turnsOf(wanted float64) (n int, more float64, err error) {
	still, err := turnsTime(1)
	if err != nil {
		return 0, 0, err
	}
	// The first turns are in part hidden behind the reading of the clock: so the number is corrected by what it takes.
	n = 1 + int(wanted)
	for range 6 {
		took, err := turnsTime(n)
		if err != nil {
			return 0, 0, err
		}
		more = took - still
		if off := more/wanted - 1; -0.03 < off && off < 0.03 {
			return n, more, nil
		}
		n = min(max(2, n+int((wanted-more)*1.2)), 100_000)
	}
	return n, more, nil
}

// turnsTime is how many nanoseconds a program of n turns takes.
func turnsTime(n int) (float64, error) {
	p, err := turns(n)
	if err != nil {
		return 0, fmt.Errorf("load a program of %d turns: %w", n, err)
	}
	defer p.Close()
	// The kernel tells a mean in whole nanoseconds: the shortest of several has the fewest interrupts in it.
	best := time.Duration(1 << 62)
	for range 5 {
		_, took, err := p.Benchmark(make([]byte, 64), 20_000, nil)
		if err != nil {
			return 0, err
		}
		best = min(best, took)
	}
	return float64(best), nil
}

// packets is how many packets an operation sends.
func (b *bench) packets() (float64, error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return 0, err
	}
	defer stats.Close()
	a, err := attachEmpty()
	if err != nil {
		return 0, err
	}
	defer a.close()
	done, err := b.runOnce(b.ops)
	if err != nil {
		return 0, err
	}
	s, err := a.programs[0].Stats()
	if err != nil {
		return 0, err
	}
	if s.RunCount == 0 {
		return 0, errors.New("it sends no packet")
	}
	return float64(s.RunCount) / done, nil
}
