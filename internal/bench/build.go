package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cold compares what a new user waits for first, with all modules fetched and nothing compiled, with the
// compilation of Go's own library.
func cold() error {
	if out, err := exec.Command("go", "mod", "download").CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	own, memory, err := withEmptyCache("run", ".", "version")
	if err != nil {
		return err
	}
	std, _, err := withEmptyCache("build", "std")
	if err != nil {
		return err
	}
	row("cold go run . version", fmt.Sprintf("%.0f s", own), "cold go build std", fmt.Sprintf("%.0f s", std), own/std, "<= 55 s")
	fmt.Printf("%-34s %12s   target <= 1 GB\n", "its largest process, resident", mb(memory))
	return nil
}

// withEmptyCache runs the go command, and returns how long that took and the most that one of its
// processes had resident, in bytes.
func withEmptyCache(args ...string) (seconds, resident float64, err error) {
	cache, err := os.MkdirTemp("", "socktally-bench-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(cache)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOCACHE="+cache, "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("go %v: %w\n%s", args, err, said.Bytes())
	}
	seconds = time.Since(began).Seconds()
	// That of the process with the most, among the command and those that it waited for.
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, errors.New("the system does not tell the memory of a process that has ended")
	}
	return seconds, float64(usage.Maxrss) * 1024, nil
}

// modules prints how much of the binary is of each module: what the linker names after its packages, code
// and constants, and of the rest, the tables of the runtime, the same share.
func modules(binary string) error {
	dir, err := os.MkdirTemp("", "socktally-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socktally")
	build := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build.Args, err, out)
	}
	file, err := os.Stat(binary) // the other has names in it
	if err != nil {
		return err
	}
	owner, err := packageModules()
	if err != nil {
		return err
	}
	out, err := exec.Command("go", "tool", "nm", "-size", path).Output()
	if err != nil {
		return fmt.Errorf("go tool nm: %w", err)
	}
	sizes, named := map[string]float64{}, 0.0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // address, size, kind, name
		if len(fields) < 4 || !strings.Contains("TtRrDd", fields[2]) {
			continue
		}
		n, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return err
		}
		if module := owner[symbolPackage(fields[3])]; module != "" && n < 1<<24 { // no array of zeros
			sizes[module] += n
			named += n
		}
	}
	for _, module := range slices.SortedFunc(maps.Keys(sizes), func(a, b string) int { return int(sizes[b] - sizes[a]) }) {
		fmt.Printf("of %.1f MB, %-46s %6.2f MB\n", float64(file.Size())/1e6, module, sizes[module]/named*float64(file.Size())/1e6)
	}
	return nil
}

// packageModules maps each package of the binary to its module; "std" is that of Go's own.
func packageModules() (map[string]string, error) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Module", ".").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	owner := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Module     *struct{ Path string }
		}
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return owner, nil
		}
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		owner[p.ImportPath] = "std"
		if p.Module != nil {
			owner[p.ImportPath] = p.Module.Path
		}
	}
}

// symbolPackage takes the package out of a symbol such as "net/http.(*Client).Do" or "type:..eq.net/url.URL".
func symbolPackage(name string) string {
	if i := strings.IndexByte(name, '['); i > 0 {
		name = name[:i] // the arguments of a generic function
	}
	slash := strings.LastIndexByte(name, '/') + 1
	dot := strings.IndexByte(name[slash:], '.')
	if dot < 0 {
		return ""
	}
	return name[:slash+dot]
}
