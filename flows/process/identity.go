package process

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"socktally/record"
)

const (
	// maxEnviron is how many bytes of an environment are read. The rest is ignored.
	maxEnviron = 1 << 20
	// maxName is how many bytes of a name are kept; Datadog's limit for a tag is the same. maxTags is that of DD_TAGS.
	maxName = 200
	maxTags = 1000
)

// identity is what the environment of a process says about it, and its container.
type identity struct {
	service, env, version string
	tags                  []string
	container             container
}

// readIdentity reads the identity of a process from /proc, if p is still that process. It also says whether there was an
// environment.
func readIdentity(proc string, p key) (identity, bool) {
	dir := filepath.Join(proc, strconv.FormatUint(uint64(p.pid), 10))
	environ := readEnviron(dir)
	// With cgroup v1, only this file names the container.
	groups := readSome(filepath.Join(dir, "cgroup"), maxEnviron)
	if !isSameProcess(dir, p) { // checked last: the pid may have been reused while the files were read
		return identity{}, false
	}
	id := parseEnviron(environ)
	id.container = containerOf(string(groups))
	return id, len(environ) > 0
}

// readEnviron reads an environment. It tries again if there is none, as a process has none during execve.
func readEnviron(dir string) []byte {
	for range 3 {
		if environ := readSome(filepath.Join(dir, "environ"), maxEnviron); len(environ) > 0 {
			return environ
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// readSome reads at most limit bytes of a file. It returns none if the file cannot be read.
func readSome(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, limit))
	return text
}

func isSameProcess(dir string, p key) bool {
	if p.startID != 0 && !sameStart(p.startID, startIn(dir)) {
		return false
	}
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	return err == nil && (p.comm == Comm{} || strings.TrimSuffix(string(comm), "\n") == p.comm.String())
}

// The start time of a process has units of 2^20 ns in the BPF programs, and of 10 ms (a clock tick) in /proc.
const (
	nsPerTick  = 1e7
	startShift = 20
	execBits   = 24
)

// startIn reads a StartID from the directory of a process in /proc. It has the start time, but no number of executions. It
// is 0 if it cannot be read.
func startIn(dir string) uint64 {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0
	}
	ticks, ok := startTicks(string(stat))
	if !ok {
		return 0
	}
	return ticks * nsPerTick >> startShift << execBits
}

// startTicks reads field 22 of /proc/PID/stat. Field 2 is the name in parentheses, which may contain any character.
func startTicks(stat string) (uint64, bool) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const start = 22 - 3
	if len(fields) <= start {
		return 0, false
	}
	n, err := strconv.ParseUint(fields[start], 10, 64)
	return n, err == nil
}

// sameStart says whether two StartIDs may have the same start time. The second is from /proc.
func sameStart(startID, fromProc uint64) bool {
	a, b := startID>>execBits<<startShift, fromProc>>execBits<<startShift
	return fromProc != 0 && a+1<<startShift >= b && a <= b+nsPerTick+1<<startShift
}

// parseEnviron reads an environment. If a name occurs twice, the first one counts, as in getenv(3). An entry without a
// final NUL was cut off and is ignored.
func parseEnviron(environ []byte) identity {
	var id identity
	for len(environ) > 0 {
		entry, rest, whole := bytes.Cut(environ, []byte{0})
		if !whole {
			break
		}
		environ = rest
		if !bytes.HasPrefix(entry, []byte("DD_")) {
			continue
		}
		name, value, _ := strings.Cut(string(entry[:min(len(entry), len("DD_TAGS=")+maxTags+1)]), "=")
		switch {
		case name == "DD_SERVICE" && id.service == "":
			id.service = clip(value)
		case name == "DD_ENV" && id.env == "":
			id.env = clip(value)
		case name == "DD_VERSION" && id.version == "":
			id.version = clip(value)
		case name == "DD_TAGS" && id.tags == nil:
			id.tags = splitTags(value)
		}
	}
	return id
}

func splitTags(value string) []string {
	if len(value) > maxTags {
		value = value[:strings.LastIndexAny(value, ", ")+1] // cut between two tags
	}
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// clip copies the value, so that the whole environment does not stay in memory.
func clip(value string) string { return strings.Clone(record.CutName(value, maxName)) }
