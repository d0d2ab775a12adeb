package process

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"socktally/internal/host"
	"socktally/internal/lru"
	"socktally/record"
)

// minProcesses is how many processes are remembered at least: twice the size of the map reported_processes.
const minProcesses = 16384

// maxRemovedCgroups is how many cgroups are remembered that may have been removed.
const maxRemovedCgroups = 2048

// Table knows more about the owner of a socket than the BPF programs do: the path of its cgroup, and its names from the
// environment. Its methods may be called concurrently.
type Table struct {
	proc       string
	cgroupRoot string

	mu        sync.Mutex
	processes *lru.Cache[key, identity]
	cgroups   map[uint64]string
	// missingCgroups were not found in the hierarchy in this interval.
	missingCgroups map[uint64]bool
	// removedCgroups has the last parts of the paths of cgroups that may have been removed.
	removedCgroups *lru.Cache[uint64, string]
}

// Ref is the process that owns a socket, as the BPF programs note it.
type Ref struct {
	PID   uint32 // in the initial PID namespace; 0 if it is not known
	NetNS uint32 // inode number of the socket's network namespace
	// StartID tells processes with the same PID apart, and also one process before and after execve. The lower 24 bits
	// are the number of executions. The upper bits are the start time since boot, in units of 2^20 ns. It is 0 if it
	// is not known.
	StartID  uint64
	CgroupID uint64
	Comm     Comm
}

// Comm is the kernel's name of a process, padded with zeros.
type Comm [16]byte

// String is the name without the padding.
func (c Comm) String() string { return string(bytes.TrimRight(c[:], "\x00")) }

// Snapshot is the environment and the cgroup of a process, copied by a BPF program while the process was running.
type Snapshot struct {
	PID     uint32
	StartID uint64
	// CgroupID is the id of the cgroup v2, 0 for cgroup v1. Cgroup has the last parts of its path.
	CgroupID uint64
	Cgroup   string
	// Environ is the copied part of an environment of Total bytes.
	Environ []byte
	Total   int
}

// key is the key of a process in a Table. The key of a Snapshot has no comm. Otherwise comm is needed, because a
// startID from /proc has no number of executions.
type key struct {
	pid     uint32
	startID uint64
	comm    Comm
}

// NewTable returns an empty Table. It remembers maxProcesses processes at least. proc is where procfs is mounted.
func NewTable(proc string, maxProcesses int) *Table {
	return &Table{
		proc:           proc,
		cgroupRoot:     host.Reader{Proc: proc}.Cgroup2(),
		processes:      lru.New[key, identity](max(maxProcesses, minProcesses)),
		missingCgroups: make(map[uint64]bool),
		removedCgroups: lru.New[uint64, string](maxRemovedCgroups),
	}
}

// BeginInterval begins an interval. Cgroups that were missing before are searched again.
func (t *Table) BeginInterval() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.missingCgroups)
}

// Learn adds a Snapshot. It keeps no reference to Environ.
func (t *Table) Learn(s Snapshot) {
	var id identity
	ok := false
	k := key{pid: s.PID, startID: s.StartID}
	if len(s.Environ) < s.Total {
		// The program could not read all: it was not the current process, a page was swapped out, or the
		// environment is very large.
		id, ok = readIdentity(t.proc, k)
	}
	if !ok {
		id = parseEnviron(s.Environ)
	}
	if c := containerOf(s.Cgroup); c != (container{}) {
		id.container = c
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.processes.Put(k, id)
	if s.CgroupID != 0 {
		t.removedCgroups.Put(s.CgroupID, s.Cgroup)
	}
}

// Describe returns all that is known about the owner of a socket.
func (t *Table) Describe(o Ref) record.Owner {
	comm := o.Comm.String()
	owner := record.Owner{PID: o.PID, Process: comm, Service: comm, CgroupID: o.CgroupID, NetNS: o.NetNS}
	if o.PID == 0 {
		return owner
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.identify(o)
	owner.Cgroup = t.cgroupPath(o.CgroupID)
	in := containerOf(owner.Cgroup)
	if in == (container{}) {
		in = id.container
	}
	owner.ContainerID, owner.PodUID = in.id, in.podUID
	if id.service != "" {
		owner.Service = id.service
	}
	owner.Env, owner.Version, owner.Tags = id.env, id.version, id.tags
	return owner
}

// identify returns the identity from a Snapshot or, if there is none, from /proc.
func (t *Table) identify(o Ref) identity {
	if id, ok := t.processes.Get(key{pid: o.PID, startID: o.StartID}); ok {
		return id
	}
	p := key{o.PID, o.StartID, o.Comm}
	id, ok := t.processes.Get(p)
	if !ok {
		id, _ = readIdentity(t.proc, p)
		t.processes.Put(p, id)
	}
	return id
}

// cgroupPath returns the path of a cgroup by its id, which is the inode number of its directory. If the id is not known,
// the whole hierarchy is read again, at most once an interval.
func (t *Table) cgroupPath(id uint64) string {
	if id == 0 {
		return ""
	}
	if path, ok := t.cgroups[id]; ok {
		return path
	}
	if !t.missingCgroups[id] {
		if len(t.missingCgroups) == 0 {
			t.cgroups = cgroupPaths(t.cgroupRoot)
		}
		if path, ok := t.cgroups[id]; ok {
			return path
		}
		t.missingCgroups[id] = true
	}
	path, _ := t.removedCgroups.Get(id)
	return path
}

// cgroupPaths returns the path of every cgroup below root, by inode number.
func cgroupPaths(root string) map[uint64]string {
	paths := make(map[uint64]string)
	if root == "" {
		return paths
	}
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // a cgroup may be removed at any time
		}
		if info, err := entry.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				paths[stat.Ino] = "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
			}
		}
		return nil
	})
	return paths
}
