package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Status is what of /proc/PID/status bears on what a process may do.
type Status struct {
	Capabilities Capabilities // effective
	// SeccompFilter says that a filter decides on the process's system calls (seccomp mode 2).
	SeccompFilter bool
}

// Status reads it. The error names the file, and what in it is not as the kernel writes it.
func (r Reader) Status() (Status, error) {
	path := r.process("status")
	text, err := os.ReadFile(path)
	if err != nil {
		return Status{}, err
	}
	s, err := parseStatus(string(text))
	if err != nil {
		return Status{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

func parseStatus(text string) (Status, error) {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	effective, err := strconv.ParseUint(fields["CapEff"], 16, 64)
	if err != nil {
		return Status{}, fmt.Errorf("CapEff is %q", fields["CapEff"])
	}
	return Status{Capabilities: Capabilities(effective), SeccompFilter: fields["Seccomp"] == "2"}, nil
}

// Capability is one that counting flows can use, by the kernel's number.
type Capability uint

// CAP_SYS_ADMIN stands in for others: see Capabilities.Allow.
const (
	NetAdmin  Capability = unix.CAP_NET_ADMIN
	SysPtrace Capability = unix.CAP_SYS_PTRACE
	SysAdmin  Capability = unix.CAP_SYS_ADMIN
	Perfmon   Capability = unix.CAP_PERFMON
	BPF       Capability = unix.CAP_BPF
)

// String returns the kernel's name, such as "CAP_BPF".
func (c Capability) String() string {
	switch c {
	case NetAdmin:
		return "CAP_NET_ADMIN"
	case SysPtrace:
		return "CAP_SYS_PTRACE"
	case SysAdmin:
		return "CAP_SYS_ADMIN"
	case Perfmon:
		return "CAP_PERFMON"
	case BPF:
		return "CAP_BPF"
	}
	return "capability " + strconv.Itoa(int(c))
}

// Capabilities is a set of them, one bit each.
type Capabilities uint64

// AllCapabilities is the set of all that there are or will be.
const AllCapabilities = ^Capabilities(0)

// Allow says whether a process with these may do what it wants c for. CAP_SYS_ADMIN stands in for all but
// CAP_SYS_PTRACE, which the look into other processes needs itself.
func (s Capabilities) Allow(c Capability) bool {
	return s.holds(c) || c != SysPtrace && s.holds(SysAdmin)
}

func (s Capabilities) holds(c Capability) bool { return s&(1<<c) != 0 }
