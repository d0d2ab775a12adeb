package flows

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// describer says what is known of a socket's owner beyond what the kernel noted: the path of its
// control group and what its environment calls it.
type describer struct {
	proc       string
	cgroupRoot string
	processes  *cache[process, identity]
	cgroups    map[uint64]string
	// Groups that the tree lacks, until the next tally may look again.
	missing map[uint64]bool
	// cgroupName gives the last part of the path of a group that may be gone, or "".
	cgroupName func(id uint64) string
}

// process is a process id with what tells most of its reuses apart.
type process struct {
	pid  uint32
	comm [16]byte
}

// identity is what a process says of itself.
type identity struct {
	service, env, version, containerID string
	tags                               []string
}

func newDescriber(proc string, maxProcesses int, cgroupName func(uint64) string) *describer {
	return &describer{
		proc:       proc,
		cgroupRoot: cgroup2Mount(filepath.Join(proc, "self/mountinfo")),
		processes:  newCache[process, identity](maxProcesses),
		missing:    make(map[uint64]bool),
		cgroupName: cgroupName,
	}
}

// next begins an interval.
func (d *describer) next() { clear(d.missing) }

func (d *describer) describe(o owned) Owner {
	comm := string(bytes.TrimRight(o.comm[:], "\x00"))
	owner := Owner{PID: o.pid, Process: comm, Service: comm, CgroupID: o.cgroup, NetNS: o.netns}
	if o.pid == 0 {
		return owner
	}
	p := process{o.pid, o.comm}
	id, ok := d.processes.get(p)
	if !ok {
		id = d.identify(p, comm)
		d.processes.put(p, id)
	}
	owner.Cgroup = d.cgroupPath(o.cgroup)
	owner.ContainerID = containerID(owner.Cgroup)
	if owner.ContainerID == "" {
		owner.ContainerID = id.containerID
	}
	if id.service != "" {
		owner.Service = id.service
	}
	owner.Env, owner.Version, owner.Tags = id.env, id.version, id.tags
	return owner
}

// identify reads what the process with this id says of itself, if it is still the one meant.
func (d *describer) identify(p process, comm string) identity {
	dir := filepath.Join(d.proc, strconv.FormatUint(uint64(p.pid), 10))
	if now, err := os.ReadFile(filepath.Join(dir, "comm")); err != nil || strings.TrimSuffix(string(now), "\n") != comm {
		return identity{}
	}
	var id identity
	// Where control groups are of version 1, only this file names the container.
	if groups, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
		id.containerID = containerID(string(groups))
	}
	environ, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		return id
	}
	id.fromEnviron(environ)
	return id
}

func (id *identity) fromEnviron(environ []byte) {
	for _, entry := range strings.Split(string(environ), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "DD_SERVICE":
			id.service = value
		case "DD_ENV":
			id.env = value
		case "DD_VERSION":
			id.version = value
		case "DD_TAGS":
			id.tags = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
		}
	}
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
	return d.cgroupName(id)
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

// cgroup2Mount finds where the tree of version 2 is mounted; "" where it is not.
func cgroup2Mount(mountinfo string) string {
	text, err := os.ReadFile(mountinfo)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4]
		}
	}
	return ""
}

// Container engines name a group by the 64 hexadecimal digits of the container's id, with a prefix
// and a suffix of their own.
var containerIDPattern = regexp.MustCompile(`(?:^|[^0-9a-f])([0-9a-f]{64})(?:[^0-9a-f]|$)`)

// containerID finds the innermost container in a control group's path.
func containerID(path string) string {
	found := containerIDPattern.FindAllStringSubmatch(path, -1)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1][1]
}
