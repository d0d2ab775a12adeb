package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Status has the lines of /proc/PID/status about what a process may do.
type Status struct {
	Capabilities Capabilities // effective
	// SeccompFilter says that the process has a seccomp filter (seccomp mode 2).
	SeccompFilter bool
}

// Status reads the status of the process. The error names the file and what is wrong in it.
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

// Capability is the kernel's number of a capability.
type Capability uint

// CAP_SYS_ADMIN includes others: see Capabilities.Allow.
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

// Capabilities is a set of capabilities, one bit each.
type Capabilities uint64

// AllCapabilities is the set of all capabilities, also of later kernels.
const AllCapabilities = ^Capabilities(0)

// Allow says whether the set is enough for what needs c. CAP_SYS_ADMIN includes all of them except CAP_SYS_PTRACE, which is
// needed to read the files of other processes.
func (s Capabilities) Allow(c Capability) bool {
	return s.holds(c) || c != SysPtrace && s.holds(SysAdmin)
}

func (s Capabilities) holds(c Capability) bool { return s&(1<<c) != 0 }
