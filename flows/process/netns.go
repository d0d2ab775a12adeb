package process

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"socktally/internal/host"
)

// CurrentNetns is the path of the caller's network namespace.
func CurrentNetns(proc string) string { return filepath.Join(proc, "thread-self/ns/net") }

// NetnsID is the inode number of a namespace. The kernel uses it as the id.
func NetnsID(path string) (uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("identify network namespace: %w", err)
	}
	return uint32(info.Sys().(*syscall.Stat_t).Ino), nil
}

// OtherNetns finds all network namespaces except the caller's: those of processes, and those that a mount keeps alive
// (`ip netns` and container engines make such mounts). It returns one path for each id.
func OtherNetns(proc string) map[uint32]string {
	paths, _ := filepath.Glob(filepath.Join(proc, "[0-9]*/ns/net"))
	mounts, _ := host.Reader{Proc: proc}.Mounts() // none if they cannot be read
	for _, m := range mounts {
		if m.Type == "nsfs" && strings.HasPrefix(m.Root, "net:") {
			paths = append(paths, m.Point)
		}
	}
	found := make(map[uint32]string)
	for _, path := range paths {
		if id, err := NetnsID(path); err == nil {
			if _, ok := found[id]; !ok {
				found[id] = path
			}
		}
	}
	if current, err := NetnsID(CurrentNetns(proc)); err == nil {
		delete(found, current)
	}
	return found
}

// EachOtherNetns runs visit in each of the other network namespaces. It returns for how many that failed.
func EachOtherNetns(proc string, visit func(id uint32) error) (failed int) {
	done := make(chan int)
	go func() {
		// Never unlocked: this thread stays in another namespace, so it must end with the goroutine.
		runtime.LockOSThread()
		failed := 0
		for id, path := range OtherNetns(proc) {
			if err := enterNetns(path); err != nil || visit(id) != nil {
				failed++
			}
		}
		done <- failed
	}()
	return <-done
}

func enterNetns(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
}
