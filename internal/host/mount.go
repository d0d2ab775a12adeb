package host

import (
	"os"
	"strings"
)

// Mount is one line of mountinfo.
type Mount struct {
	Type  string // type of the file system, such as "cgroup2"
	Root  string // the part of the file system that is mounted
	Point string // where it is mounted
}

// Mounts are in the order of the kernel. A mount over another one comes after that.
type Mounts []Mount

// Mounts reads the mounts of the process. Lines that cannot be parsed are ignored.
func (r Reader) Mounts() (Mounts, error) {
	text, err := os.ReadFile(r.process("mountinfo"))
	if err != nil {
		return nil, err
	}
	return parseMounts(string(text)), nil
}

func parseMounts(text string) Mounts {
	var all Mounts
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		kind, _, ok := strings.Cut(after, " ")
		if fields := strings.Fields(before); ok && len(fields) > 4 {
			all = append(all, Mount{Type: kind, Root: unescape(fields[3]), Point: unescape(fields[4])})
		}
	}
	return all
}

// unescape replaces the escapes that the kernel uses for characters that would end a field.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// Cgroup2 is the first mount point of the cgroup v2 hierarchy, "" if it is not mounted.
func (m Mounts) Cgroup2() string {
	for _, mount := range m {
		if mount.Type == "cgroup2" {
			return mount.Point
		}
	}
	return ""
}

// Cgroup2 is the mount point of the cgroup v2 hierarchy in the mounts of the process. It is also "" if these cannot be
// read.
func (r Reader) Cgroup2() string {
	mounts, _ := r.Mounts()
	return mounts.Cgroup2()
}
