// Package host reads what a host allows a process to do: the release and the options of the kernel, and the process's
// capabilities, limits, seccomp filter, user namespace and mounts. It makes no decisions.
//
// The module procfs does not fit: its status has no seccomp mode, its limits and mounts fail completely at one unknown line,
// and its mounts keep the kernel's escapes.
package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Reader reads the proc and sys file systems. The zero value is for this process on this host.
type Reader struct {
	Proc    string // where procfs is mounted, "" for /proc
	Sys     string // where sysfs is mounted, "" for /sys
	Process string // the process to read about: a PID or "self", "" for "self"
}

func (r Reader) proc(name string) string { return filepath.Join(or(r.Proc, "/proc"), name) }

func (r Reader) sys(name string) string { return filepath.Join(or(r.Sys, "/sys"), name) }

// process is a path below the directory of the process.
func (r Reader) process(name string) string {
	return filepath.Join(r.proc(or(r.Process, "self")), name)
}

func or(text, standard string) string {
	if text == "" {
		return standard
	}
	return text
}

// Release is the kernel's release, such as "6.1.0-13-cloud-amd64", "" if it is not known. If procfs has only processes
// (systemd's ProcSubset=pid), it is read by uname(2).
func (r Reader) Release() string {
	if text, err := os.ReadFile(r.proc("sys/kernel/osrelease")); err == nil {
		return strings.TrimSpace(string(text))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// ReleaseAtLeast compares the first two numbers of a release. If it cannot be parsed, the kernel is taken to be new.
func ReleaseAtLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return true
	}
	return a > major || a == major && b >= minor
}

// HasBTF says whether the kernel has type information (CONFIG_DEBUG_INFO_BTF).
func (r Reader) HasBTF() bool {
	_, err := os.Stat(r.sys("kernel/btf/vmlinux"))
	return err == nil
}

// Lockdown is the kernel's lockdown mode: "none", "integrity" or "confidentiality". It is "" if it cannot be read, for
// example because securityfs is not mounted.
func (r Reader) Lockdown() string {
	text, err := os.ReadFile(r.sys("kernel/security/lockdown"))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), "[") // the current mode is in brackets
	mode, _, found := strings.Cut(after, "]")
	if !found {
		return ""
	}
	return mode
}

// InInitialUserNamespace says whether the process is in the initial user namespace. Only there do capabilities count for the
// whole host. If it cannot be read, the answer is yes.
func (r Reader) InInitialUserNamespace() bool {
	text, err := os.ReadFile(r.process("uid_map"))
	return err != nil || slices.Equal(strings.Fields(string(text)), []string{"0", "0", "4294967295"})
}

// Limit is a soft limit of the process by its name in /proc/PID/limits, such as "Max locked memory". It is a number or
// "unlimited", and "" if it is not known.
func (r Reader) Limit(name string) string {
	text, err := os.ReadFile(r.process("limits"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, name+" "); ok {
			if fields := strings.Fields(after); len(fields) > 0 {
				return fields[0]
			}
		}
	}
	return ""
}
