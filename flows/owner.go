package flows

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"socktally/bpf"
	"socktally/internal/host"
	"socktally/internal/lru"
	"socktally/record"
)

// minProcesses is how many processes are remembered at least: twice as many as the programs remember
// to have told of.
const minProcesses = 16384

// maxGroups is how many control groups are remembered that may be gone.
const maxGroups = 2048

// describer says what is known of a socket's owner beyond what the kernel noted: the path of its
// control group and what its environment calls it. Its methods may be called concurrently.
type describer struct {
	proc       string
	cgroupRoot string

	mu        sync.Mutex
	processes *lru.Cache[process, identity]
	cgroups   map[uint64]string
	// Groups that the tree lacks, until the next tally may look again.
	missing map[uint64]bool
	// gone has the last parts of the paths of groups that the tree may lack.
	gone *lru.Cache[uint64, string]
}

// process tells the processes apart that have had one pid, and what one was before it executed
// another program. One that the programs told of has no comm. Where they did not, comm stands in for
// what life does not say.
type process struct {
	pid  uint32
	life uint64 // see life_of in the programs; 0 if it is not known
	comm [16]byte
}

func newDescriber(proc string, maxProcesses int) *describer {
	return &describer{
		proc:       proc,
		cgroupRoot: host.Reader{Proc: proc}.Cgroup2(),
		processes:  lru.New[process, identity](max(maxProcesses, minProcesses)),
		missing:    make(map[uint64]bool),
		gone:       lru.New[uint64, string](maxGroups),
	}
}

// next begins an interval.
func (d *describer) next() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.missing)
}

// introduce takes what the programs tell of a process that they meet.
func (d *describer) introduce(sample []byte) {
	var p bpf.FlowsProcess
	environ, ok := decode(sample, &p)
	if !ok || uint64(p.Size) > uint64(len(environ)) {
		return // not what the programs write
	}
	var id identity
	if p.Size < p.Total {
		// Another process's memory, one that is swapped out, or a very large one.
		id, ok = readIdentity(d.proc, process{pid: p.Pid, life: p.Life})
	}
	if p.Size == p.Total || !ok {
		id = parseEnviron(environ[:p.Size])
	}
	group := groupPath(&p)
	if c := containerOf(group); c != (container{}) {
		id.container = c
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.processes.Put(process{pid: p.Pid, life: p.Life}, id)
	if p.Cgroup != 0 {
		d.gone.Put(p.Cgroup, group)
	}
}

// groupPath is the last parts of a control group's path.
func groupPath(p *bpf.FlowsProcess) string {
	path := ""
	for i := range p.Groups {
		name, _, _ := bytes.Cut(p.Groups[i][:], []byte{0})
		switch {
		case len(name) == 0 || string(name) == "/":
		case path == "":
			path = string(name)
		default:
			path = string(name) + "/" + path
		}
	}
	return path
}

func (d *describer) describe(o owned) record.Owner {
	comm := string(bytes.TrimRight(o.comm[:], "\x00"))
	owner := record.Owner{PID: o.pid, Process: comm, Service: comm, CgroupID: o.cgroup, NetNS: o.netns}
	if o.pid == 0 {
		return owner
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.identify(o)
	owner.Cgroup = d.cgroupPath(o.cgroup)
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
func (d *describer) identify(o owned) identity {
	if id, ok := d.processes.Get(process{pid: o.pid, life: o.life}); ok {
		return id
	}
	p := process{o.pid, o.life, o.comm}
	id, ok := d.processes.Get(p)
	if !ok {
		id, _ = readIdentity(d.proc, p)
		d.processes.Put(p, id)
	}
	return id
}

// cgroupPath finds a control group by its id, which is the inode number of its directory. A group
// that is new since the last look costs one walk over the tree.
func (d *describer) cgroupPath(id uint64) string {
	if id == 0 {
		return ""
	}
	if path, ok := d.cgroups[id]; ok {
		return path
	}
	if !d.missing[id] {
		if len(d.missing) == 0 {
			d.cgroups = cgroupTree(d.cgroupRoot)
		}
		if path, ok := d.cgroups[id]; ok {
			return path
		}
		d.missing[id] = true
	}
	path, _ := d.gone.Get(id)
	return path
}

// cgroupTree returns the path of every control group below root, by inode number.
func cgroupTree(root string) map[uint64]string {
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
