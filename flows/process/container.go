package process

import (
	"regexp"
	"strings"
	"sync"
)

// container is the container of a process. Its fields are "" if there is none.
type container struct {
	id     string // 64 hexadecimal digits
	podUID string // of Kubernetes, with dashes
}

// A container engine names a cgroup by the container's id, with its own prefix and suffix. In Kubernetes the parent
// is the cgroup of the pod, which is named by the pod's UID. systemd replaces the dashes in it by underscores. The
// UID of a static pod is a hash.
var (
	containerPattern = pattern(`(?:^|[^0-9a-f])([0-9a-f]{64})(?:[^0-9a-f]|$)`)
	podPattern       = pattern(`(?:^|[-/])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice|[/:]|$)`)
)

// pattern compiles a pattern when it is first used, to keep the start of the program fast.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// containerOf finds the innermost container in the path of a cgroup or in the text of /proc/PID/cgroup. conmon, the
// process that monitors a container, is not in that container.
func containerOf(path string) container {
	var c container
	if len(path) < 32 {
		return c
	}
	if found := containerPattern().FindAllStringSubmatchIndex(path, -1); found != nil {
		last := found[len(found)-1]
		if !strings.HasSuffix(path[:last[2]], "conmon-") {
			c.id = path[last[2]:last[3]]
		}
	}
	if found := podPattern().FindAllStringSubmatch(path, -1); found != nil {
		c.podUID = strings.ReplaceAll(found[len(found)-1][1], "_", "-")
	}
	return c
}
