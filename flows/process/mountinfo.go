package process

import (
	"os"
	"path/filepath"
	"strings"
)

// mount is one line of mountinfo.
type mount struct {
	kind  string // of file system
	root  string // what of it is mounted
	point string // where
}

// mounts reads the mounts that the caller sees; none where it cannot.
func mounts(proc string) []mount {
	text, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil
	}
	return parseMounts(string(text))
}

func parseMounts(text string) []mount {
	var all []mount
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		kind, _, ok := strings.Cut(after, " ")
		if fields := strings.Fields(before); ok && len(fields) > 4 {
			all = append(all, mount{kind: kind, root: unescape(fields[3]), point: unescape(fields[4])})
		}
	}
	return all
}

// unescape undoes what the kernel does to characters that would end a field.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// Cgroup2Mount finds where the cgroup v2 hierarchy is mounted; "" where it is not.
func Cgroup2Mount(proc string) string {
	for _, m := range mounts(proc) {
		if m.kind == "cgroup2" {
			return m.point
		}
	}
	return ""
}
