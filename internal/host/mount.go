package host

import (
	"os"
	"strings"
)

// Mount is one line of mountinfo.
type Mount struct {
	Type  string // of the file system, such as "cgroup2"
	Root  string // what of it is mounted
	Point string // where
}

// Mounts are in the order of the kernel: what is mounted over another comes after it.
type Mounts []Mount

// Mounts reads the mounts that the process sees. A line that is not as the kernel writes it is left out.
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

// unescape undoes what the kernel does to characters that would end a field.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// Cgroup2 is where the cgroup v2 hierarchy is mounted first, "" where it is not.
func (m Mounts) Cgroup2() string {
	for _, mount := range m {
		if mount.Type == "cgroup2" {
			return mount.Point
		}
	}
	return ""
}

// Cgroup2 is the same of the mounts that the process sees, "" also where they cannot be read.
func (r Reader) Cgroup2() string {
	mounts, _ := r.Mounts()
	return mounts.Cgroup2()
}
