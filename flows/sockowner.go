package flows

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"socktally/internal/host"
)

// socketOwners finds the process that holds a socket by looking through /proc/PID/fd, at most once
// a poll and only when a poll brings a socket that is new.
type socketOwners struct {
	proc, cgroupRoot string
	byInode          map[uint32]owned
	fresh            bool
}

func newSocketOwners(proc string) *socketOwners {
	return &socketOwners{proc: proc, cgroupRoot: host.Reader{Proc: proc}.Cgroup2()}
}

// next begins a poll.
func (s *socketOwners) next() { s.fresh, s.byInode = false, nil }

// of is the lowest process that holds the socket: the parent, where a server forks. The zero owner
// where none does, as before accept, or where the process may not be looked into.
func (s *socketOwners) of(inode uint32) owned {
	if inode == 0 {
		return owned{}
	}
	if !s.fresh {
		s.fresh, s.byInode = true, s.scan()
	}
	return s.byInode[inode]
}

func (s *socketOwners) scan() map[uint32]owned {
	found := make(map[uint32]owned)
	entries, _ := os.ReadDir(s.proc)
	for _, entry := range entries {
		pid, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil {
			continue
		}
		dir := filepath.Join(s.proc, entry.Name())
		var owner owned
		descriptors, _ := os.ReadDir(filepath.Join(dir, "fd"))
		for _, d := range descriptors {
			target, err := os.Readlink(filepath.Join(dir, "fd", d.Name()))
			inode, ok := socketInode(target)
			if err != nil || !ok {
				continue
			}
			if owner.pid == 0 {
				owner = s.owner(uint32(pid), dir)
			}
			if before, ok := found[inode]; !ok || owner.pid < before.pid {
				found[inode] = owner
			}
		}
	}
	return found
}

// socketInode reads "socket:[12345]".
func socketInode(target string) (uint32, bool) {
	text, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(n), err == nil
}

func (s *socketOwners) owner(pid uint32, dir string) owned {
	o := owned{pid: pid, life: lifeIn(dir)}
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		copy(o.comm[:], strings.TrimSuffix(string(comm), "\n"))
	}
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil || s.cgroupRoot == "" {
		return o
	}
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			if info, err := os.Stat(filepath.Join(s.cgroupRoot, path)); err == nil {
				o.cgroup = info.Sys().(*syscall.Stat_t).Ino
			}
		}
	}
	return o
}
