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

// minProcesses is how many processes are remembered at least: twice as many as the programs remember
// to have told of.
const minProcesses = 16384

// maxGroups is how many cgroups are remembered that may be gone.
const maxRemovedCgroups = 2048

// Table says what is known of a socket's owner beyond what the kernel noted: the path of its
// cgroup and what its environment calls it. Its methods may be called concurrently.
type Table struct {
	proc       string
	cgroupRoot string

	mu        sync.Mutex
	processes *lru.Cache[key, identity]
	cgroups   map[uint64]string
	// Groups that the tree lacks, until the next tally may look again.
	missingCgroups map[uint64]bool
	// gone has the last parts of the paths of groups that the tree may lack.
	removedCgroups *lru.Cache[uint64, string]
}

// Ref is what the kernel says of the process that owns a socket.
type Ref struct {
	PID   uint32 // as the host numbers it; 0 if it is not known
	NetNS uint32 // inode number of the socket's network namespace
	// StartID tells the processes apart that have had one PID, and what one was before it executed another program:
	// the start, in units of 2^20 ns since boot, above the number of executions in 24 bits. 0 if it is not known.
	StartID  uint64
	CgroupID uint64
	Comm     Comm
}

// Comm is a process's name as the kernel has it, with zeros behind.
type Comm [16]byte

// String is the name without the zeros.
func (c Comm) String() string { return string(bytes.TrimRight(c[:], "\x00")) }

// Told is what a process says of itself, copied while it lived.
type Snapshot struct {
	PID     uint32
	StartID uint64
	// CgroupID is whose path Cgroup has the last parts of, 0 for a hierarchy of version 1.
	CgroupID uint64
	Cgroup   string
	// Environ is what was copied of an environment of Total bytes.
	Environ []byte
	Total   int
}

// key is whom a Table knows something of. One that was told of has no comm. Where none was, comm stands in for
// what the start does not say.
type key struct {
	pid     uint32
	startID uint64
	comm    Comm
}

// NewTable returns a Table that knows nothing. It remembers maxProcesses at least. proc is where procfs is mounted.
func NewTable(proc string, maxProcesses int) *Table {
	return &Table{
		proc:           proc,
		cgroupRoot:     host.Reader{Proc: proc}.Cgroup2(),
		processes:      lru.New[key, identity](max(maxProcesses, minProcesses)),
		missingCgroups: make(map[uint64]bool),
		removedCgroups: lru.New[uint64, string](maxRemovedCgroups),
	}
}

// Next begins an interval: cgroups that were not there are looked for again.
func (d *Table) BeginInterval() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.missingCgroups)
}

// Learn takes what a process was told to say of itself. It keeps nothing of it that the caller may change.
func (d *Table) Learn(t Snapshot) {
	var id identity
	ok := false
	k := key{pid: t.PID, startID: t.StartID}
	if len(t.Environ) < t.Total {
		// Another process's memory, one that is swapped out, or a very large one.
		id, ok = readIdentity(d.proc, k)
	}
	if !ok {
		id = parseEnviron(t.Environ)
	}
	if c := containerOf(t.Cgroup); c != (container{}) {
		id.container = c
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.processes.Put(k, id)
	if t.CgroupID != 0 {
		d.removedCgroups.Put(t.CgroupID, t.Cgroup)
	}
}

// Describe returns all that is known of the owner of a socket.
func (d *Table) Describe(o Ref) record.Owner {
	comm := o.Comm.String()
	owner := record.Owner{PID: o.PID, Process: comm, Service: comm, CgroupID: o.CgroupID, NetNS: o.NetNS}
	if o.PID == 0 {
		return owner
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.identify(o)
	owner.Cgroup = d.cgroupPath(o.CgroupID)
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

// identify finds what was told of a process, or else reads it if the process is still there.
func (d *Table) identify(o Ref) identity {
	if id, ok := d.processes.Get(key{pid: o.PID, startID: o.StartID}); ok {
		return id
	}
	p := key{o.PID, o.StartID, o.Comm}
	id, ok := d.processes.Get(p)
	if !ok {
		id, _ = readIdentity(d.proc, p)
		d.processes.Put(p, id)
	}
	return id
}

// cgroupPath finds a cgroup by its id, which is the inode number of its directory. A group
// that is new since the last look costs one walk over the tree.
func (d *Table) cgroupPath(id uint64) string {
	if id == 0 {
		return ""
	}
	if path, ok := d.cgroups[id]; ok {
		return path
	}
	if !d.missingCgroups[id] {
		if len(d.missingCgroups) == 0 {
			d.cgroups = cgroupPaths(d.cgroupRoot)
		}
		if path, ok := d.cgroups[id]; ok {
			return path
		}
		d.missingCgroups[id] = true
	}
	path, _ := d.removedCgroups.Get(id)
	return path
}

// cgroupTree returns the path of every cgroup below root, by inode number.
func cgroupPaths(root string) map[uint64]string {
	paths := make(map[uint64]string)
	if root == "" {
		return paths
	}
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // a group may go while we look
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
