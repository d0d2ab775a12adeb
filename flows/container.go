package flows

import (
	"regexp"
	"strings"
	"sync"
)

// container is where a process runs, "" where it does not run in one.
type container struct {
	id     string // 64 hexadecimal digits
	podUID string // of Kubernetes, with dashes
}

// Engines name a group by the container's id, with a prefix and a suffix of their own. Around it,
// Kubernetes has a group of the pod, by its UID, in which systemd wants other dashes; the UID of a
// pod that a node runs by itself is a hash.
var (
	containerPattern = pattern(`(?:^|[^0-9a-f])([0-9a-f]{64})(?:[^0-9a-f]|$)`)
	podPattern       = pattern(`(?:^|[-/])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice|[/:]|$)`)
)

// pattern is compiled when it is first used, and not at every start of the program.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// containerOf finds the innermost container in a control group's path, or in the text of
// /proc/PID/cgroup. The process that watches a container (conmon) is not in it.
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
