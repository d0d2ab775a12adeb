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
	// maxEnviron bounds what is read of an environment. What of one is larger is not looked at.
	maxEnviron = 1 << 20
	// maxName and maxTags bound what is kept of an environment: Datadog's limit of a tag, and some
	// tags.
	maxName = 200
	maxTags = 1000
)

// identity is what a process says of itself, and where it runs.
type identity struct {
	service, env, version string
	tags                  []string
	container             container
}

// readIdentity reads what a process says of itself, if it is still the one meant, and says whether there
// was something to read.
func readIdentity(proc string, p key) (identity, bool) {
	dir := filepath.Join(proc, strconv.FormatUint(uint64(p.pid), 10))
	environ := readEnviron(dir)
	// Where cgroups are of version 1, only this file names the container.
	groups := readSome(filepath.Join(dir, "cgroup"), maxEnviron)
	if !isSameProcess(dir, p) { // asked last: an id that is used again now was not before
		return identity{}, false
	}
	id := parseEnviron(environ)
	id.container = containerOf(string(groups))
	return id, len(environ) > 0
}

// readEnviron reads an environment. While a process executes another program there is none.
func readEnviron(dir string) []byte {
	for range 3 {
		if environ := readSome(filepath.Join(dir, "environ"), maxEnviron); len(environ) > 0 {
			return environ
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// readSome reads at most so many bytes of a file, and none where it cannot.
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

// The programs know a start to 2^20 ns, /proc to a tick of 10 ms.
const (
	nsPerTick  = 1e7
	startShift = 20
	execBits   = 24
)

// startIn is the StartID of a process as far as its directory in /proc says it: without executions. 0 if
// there is none.
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

// startTicks reads the 22nd field. The second is the process's name in brackets, which may hold
// anything.
func startTicks(stat string) (uint64, bool) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const start = 22 - 3
	if len(fields) <= start {
		return 0, false
	}
	n, err := strconv.ParseUint(fields[start], 10, 64)
	return n, err == nil
}

// sameStart says whether two StartIDs may be of the same moment, the second as /proc has it.
func sameStart(startID, fromProc uint64) bool {
	a, b := startID>>execBits<<startShift, fromProc>>execBits<<startShift
	return fromProc != 0 && a+1<<startShift >= b && a <= b+nsPerTick+1<<startShift
}

// parseEnviron reads an environment. Where a name comes twice, the first counts, as it does for the
// process itself. What a cut has left without an end is not believed.
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
		value = value[:strings.LastIndexAny(value, ", ")+1] // no part of a tag
	}
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// clip holds on to no more than what is kept.
func clip(value string) string { return strings.Clone(record.CutName(value, maxName)) }
