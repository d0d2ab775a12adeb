package integration

import (
	"bytes"
	endian "encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKilledAtEvents kills the daemon 200 times while it keeps and replays, each time when something has
// just happened. What once was on disk under its final name arrives with its value, and no torn file is
// ever met.
func TestKilledAtEvents(t *testing.T) {
	in := newIntake(t)
	dir := t.TempDir()
	folder := filepath.Join(dir, "spool", "http")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	onDisk := map[string]int{}
	files := map[string]bool{}
	deaths := map[string]int{}
	for range 200 {
		waiting := len(spoolFiles(t, dir))
		up := rand.IntN(3) == 0
		of := []string{eventRequest, eventAnswer}
		switch {
		case !up:
			of = append(of, eventCreate, eventWrite, eventClose, eventRename)
		case waiting > 0:
			of = append(of, eventRemove)
		}
		last, nth := of[rand.IntN(len(of))], 1
		if last == eventRemove {
			nth += rand.IntN(waiting)
		}
		in.set(up)
		events := make(chan string, 10_000)
		in.watch(events)
		stop := watchFolder(t, folder, events)
		p := startSocktally(t, append(in.env(dir), "SOCKTALLY_SCHEDULE=@every 1s"), "run")
		awaitEvent(t, events, last, nth)
		p.kill()
		stop()
		deaths[last]++
		for _, path := range spoolFiles(t, dir) {
			if !files[path] {
				files[path] = true
				kept(t, path, onDisk)
			}
		}
		if n := len(spoolFiles(t, dir)); last == eventRename && n <= waiting {
			t.Errorf("%d files wait after a file got its name, before it %d", n, waiting)
		}
	}
	in.set(true)
	in.watch(nil)
	for range 2 { // the second finds what a lock that died a moment ago may have kept from the first
		onceDelivers(t, in.env(dir)...)
	}
	if left := spoolFiles(t, dir); len(left) > 0 {
		t.Errorf("%d files are left", len(left))
	}
	if aside, err := os.ReadDir(filepath.Join(folder, "unreadable")); err == nil {
		t.Errorf("%d files could not be read", len(aside))
	}
	for point, n := range onDisk {
		// Readings of one second can be equal, and a delivery may have been repeated after a kill.
		if in.points[point] < n {
			t.Errorf("%s was on disk in %d files and arrived %d times", point, n, in.points[point])
		}
	}
	t.Logf("%d files were on disk; the daemon died after %v", len(files), deaths)
}

// What happens to a spool: to a payload, to a file that is being written, and to one that has its name.
const (
	eventRequest = "request"
	eventAnswer  = "answer"
	eventCreate  = "create"
	eventWrite   = "write"
	eventClose   = "close"
	eventRename  = "rename"
	eventRemove  = "remove"
)

// awaitEvent waits until an event has come so many times.
func awaitEvent(t *testing.T, events <-chan string, wanted string, times int) {
	t.Helper()
	var seen []string
	for timeout := time.After(patience); times > 0; {
		select {
		case event := <-events:
			if seen = append(seen, event); event == wanted {
				times--
			}
		case <-timeout:
			t.Fatalf("no %q came, but %q", wanted, seen)
		}
	}
}

// watchFolder tells what happens to the files of a spool until stop is called.
func watchFolder(t *testing.T, folder string, events chan<- string) (stop func()) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[uint32]string{
		syscall.IN_CREATE: eventCreate, syscall.IN_MODIFY: eventWrite, syscall.IN_CLOSE_WRITE: eventClose,
		syscall.IN_MOVED_TO: eventRename, syscall.IN_DELETE: eventRemove,
	}
	mask := uint32(0)
	for kind := range kinds {
		mask |= kind
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	if _, err := syscall.InotifyAddWatch(fd, folder, mask); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, err := watch.Read(b)
			if err != nil {
				return // it was closed
			}
			for at := 0; at < n; {
				kind := endian.NativeEndian.Uint32(b[at+4:])
				length := int(endian.NativeEndian.Uint32(b[at+12:]))
				name := string(bytes.TrimRight(b[at+syscall.SizeofInotifyEvent:][:length], "\x00"))
				at += syscall.SizeofInotifyEvent + length
				if strings.HasPrefix(name, "tmp-") || strings.HasSuffix(name, ".spool") {
					events <- kinds[kind]
				}
			}
		}
	})
	return func() {
		watch.Close()
		reading.Wait()
	}
}

// TestVictoriaMetricsIsKilled kills the receiver in mid-run. It holds what it took in memory for a
// second, as it is told to here; all else has to be there.
func TestVictoriaMetricsIsKilled(t *testing.T) {
	v := newVictoria(t)
	const flush = time.Second
	v.args = []string{"-inmemoryDataFlushInterval=" + flush.String()}
	v.start(t)
	dir := t.TempDir()
	d := startDaemon(t, "SOCKTALLY_FORWARD=http,stdout", "SOCKTALLY_HTTP_URL="+v.intake(), "DD_HOSTNAME=host-a", "SOCKTALLY_STATE_DIR="+dir)
	eventually(t, func() error {
		if n := len(find(v.points(t, "host-a"), "sockstat.tcp.inuse")); n < 8 {
			return fmt.Errorf("VictoriaMetrics has %d readings", n)
		}
		return nil
	})
	killed := time.Now()
	v.kill()
	waiting := func(least, most int) {
		t.Helper()
		eventually(t, func() error {
			if n := len(spoolFiles(t, dir)); n < least || n > most {
				return fmt.Errorf("%d readings wait, want %d to %d", n, least, most)
			}
			return nil
		})
	}
	waiting(5, 1000)
	v.start(t)
	waiting(0, 0)
	endsWell(t, d)

	seconds := map[int64]int{}
	var first, last int64
	for _, p := range find(v.points(t, "host-a"), "sockstat.tcp.inuse") {
		s := p.Time.Unix()
		seconds[s]++
		if first == 0 || s < first {
			first = s
		}
		last = max(last, s)
	}
	if time.Unix(last, 0).Before(killed) {
		t.Fatalf("no reading after the kill arrived: %v", seconds)
	}
	// On a busy machine a second may pass without a reading.
	unread := int(last-first) + 1 - d.printed("sockstat.tcp.inuse")
	var missing []int64
	for s := first; s <= last; s++ {
		// It gathers rows for 2 s before they wait to be flushed, and a busy machine delays both.
		inMemory := s >= killed.Add(-6*flush).Unix() && s <= killed.Unix()
		if seconds[s] == 0 && !inMemory {
			missing = append(missing, s)
		}
	}
	if len(missing) > unread {
		t.Errorf("readings of the seconds %v are missing, %d were not taken; the kill was at %d", missing, unread, killed.Unix())
	}
}
