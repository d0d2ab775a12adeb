package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"socktally/internal/host"
)

// SocketOwners finds the process that has a socket open. It reads all of /proc/PID/fd, but at most once a poll, and only
// if a poll finds a new socket.
type SocketOwners struct {
	proc, cgroupRoot string
	byInode          map[uint32]Ref
	scanned          bool
}

// NewSocketOwners returns a SocketOwners. proc is where procfs is mounted.
func NewSocketOwners(proc string) *SocketOwners {
	return &SocketOwners{proc: proc, cgroupRoot: host.Reader{Proc: proc}.Cgroup2()}
}

// BeginPoll begins a poll.
func (s *SocketOwners) BeginPoll() { s.scanned, s.byInode = false, nil }

// Of returns the process that has the socket open. If there are several, it is the one with the lowest PID: the parent,
// if a server forks. It is the zero Ref if there is none, as before accept, or if the caller may not read its
// descriptors.
func (s *SocketOwners) Of(inode uint32) Ref {
	if inode == 0 {
		return Ref{}
	}
	if !s.scanned {
		s.scanned, s.byInode = true, s.scan()
	}
	return s.byInode[inode]
}

func (s *SocketOwners) scan() map[uint32]Ref {
	found := make(map[uint32]Ref)
	entries, _ := os.ReadDir(s.proc)
	for _, entry := range entries {
		pid, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil {
			continue
		}
		dir := filepath.Join(s.proc, entry.Name())
		var owner Ref
		descriptors, _ := os.ReadDir(filepath.Join(dir, "fd"))
		for _, d := range descriptors {
			target, err := os.Readlink(filepath.Join(dir, "fd", d.Name()))
			inode, ok := socketInode(target)
			if err != nil || !ok {
				continue
			}
			if owner.PID == 0 {
				owner = s.owner(uint32(pid), dir)
			}
			if before, ok := found[inode]; !ok || owner.PID < before.PID {
				found[inode] = owner
			}
		}
	}
	return found
}

// socketInode parses "socket:[12345]".
func socketInode(target string) (uint32, bool) {
	text, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(n), err == nil
}

func (s *SocketOwners) owner(pid uint32, dir string) Ref {
	o := Ref{PID: pid, StartID: startIn(dir)}
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		copy(o.Comm[:], strings.TrimSuffix(string(comm), "\n"))
	}
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil || s.cgroupRoot == "" {
		return o
	}
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			if info, err := os.Stat(filepath.Join(s.cgroupRoot, path)); err == nil {
				o.CgroupID = info.Sys().(*syscall.Stat_t).Ino
			}
		}
	}
	return o
}
