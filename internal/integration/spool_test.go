package integration

import (
	"bytes"
	"compress/gzip"
	endian "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// intake is a series intake that takes everything or nothing, and counts what it took.
type intake struct {
	*httptest.Server

	mu     sync.Mutex
	up     bool
	events chan<- string  // told of requests and answers, if not nil
	points map[string]int // how often each came: a metric with its tags, time and value
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	in := &intake{points: map[string]int{}}
	in.Server = httptest.NewServer(in)
	t.Cleanup(in.Close)
	return in
}

func (in *intake) set(up bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.up = up
}

// watch has the events told of requests and answers.
func (in *intake) watch(events chan<- string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.events = events
}

func (in *intake) tell(event string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.events != nil {
		in.events <- event
	}
}

func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in.tell(eventRequest)
	in.answer(w, r)
	if err := http.NewResponseController(w).Flush(); err == nil {
		in.tell(eventAnswer)
	}
}

func (in *intake) answer(w http.ResponseWriter, r *http.Request) {
	var payload struct {
		Series []struct {
			Metric string
			Tags   []string
			Points []struct {
				Timestamp int64
				Value     float64
			}
		}
	}
	z, err := gzip.NewReader(r.Body)
	if err == nil {
		err = json.NewDecoder(z).Decode(&payload)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case err != nil:
		w.WriteHeader(http.StatusBadRequest) // the sender was killed
	case !in.up:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		for _, s := range payload.Series {
			in.points[fmt.Sprintf("%s %v %d %v", s.Metric, s.Tags, s.Points[0].Timestamp, s.Points[0].Value)]++
		}
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"errors":[]}`)
	}
}

func (in *intake) env(stateDir string) []string {
	return []string{"SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=" + in.URL, "SOCKTALLY_STATE_DIR=" + stateDir}
}

// spoolFiles returns the paths of what waits for the sink http.
func spoolFiles(t *testing.T, stateDir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(stateDir, "spool", "http", "*.spool"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// kept reads a spool file as its documentation says: a header, a JSON object a line, a checksum.
// points maps a metric with its tags, time and value to the number of files that hold it.
func kept(t *testing.T, path string, points map[string]int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if line[0] != '{' {
			continue
		}
		var s struct {
			Name     string
			Value    float64
			UnixNano int64 `json:"unix_nano"`
			Tags     []string
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v: %q", path, err, line)
		}
		points[fmt.Sprintf("%s %v %d %v", s.Name, s.Tags, s.UnixNano/int64(time.Second), s.Value)]++
	}
}

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

// TestTwentyAtOnce starts 20 processes on one spool, first to keep and then to replay.
func TestTwentyAtOnce(t *testing.T) {
	in := newIntake(t)
	dir := t.TempDir()
	binary(t, socktally)
	twenty := func() {
		var all []*process
		for range 20 {
			all = append(all, startSocktally(t, in.env(dir), "once"))
		}
		for _, p := range all {
			if code := p.wait(t); code != 0 || p.stdout.String()+p.stderr.String() != "" {
				t.Errorf("exit code %d, printed %q", code, p.stdout.String()+p.stderr.String())
			}
		}
	}
	twenty()
	if n := len(spoolFiles(t, dir)); n != 20 {
		t.Errorf("%d files are kept, want 20", n)
	}
	in.set(true)
	twenty()
	onceDelivers(t, in.env(dir)...)
	if n := len(spoolFiles(t, dir)); n != 0 {
		t.Errorf("%d files are left", n)
	}
	arrived := 0
	for point, n := range in.points {
		if strings.HasPrefix(point, "sockstat.tcp.inuse ") {
			arrived += n
		}
	}
	if arrived != 41 {
		t.Errorf("%d readings arrived, want 41", arrived)
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

// TestDisksThatDoNotTakeIt has the state folder full, read-only, or of another user.
func TestDisksThatDoNotTakeIt(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "mounts file systems, which needs root")
	}
	in := newIntake(t)
	mount := func(t *testing.T, options string) string {
		t.Helper()
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
			skip(t, "cannot mount a tmpfs: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	fill := func(t *testing.T, dir string) string {
		t.Helper()
		path := filepath.Join(dir, "filler")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		return path
	}
	onceFails := func(t *testing.T, dir, says string) {
		t.Helper()
		p := startSocktally(t, in.env(dir), "once")
		if code := p.wait(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		for _, want := range []string{says, "503"} {
			if !strings.Contains(p.stderr.String(), want) {
				t.Errorf("stderr %q does not say %q", p.stderr.String(), want)
			}
		}
	}
	const broken, works = "spool does not work: samples that cannot be delivered are lost", "spool works again"

	t.Run("full", func(t *testing.T) {
		dir := mount(t, "size=64k")
		filler := fill(t, dir)
		onceFails(t, dir, "no space left on device")
		d := startDaemon(t, in.env(dir)...)
		d.waitFor(t, broken)
		time.Sleep(several)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		d.waitFor(t, works)
		if n := strings.Count(strings.Join(d.messages(), "\n"), broken); n != 1 {
			t.Errorf("the log says %d times that the spool does not work, want once", n)
		}
		in.set(true)
		defer in.set(false)
		d.waitFor(t, msgAgain)
		endsWell(t, d)
	})
	t.Run("read-only", func(t *testing.T) {
		dir := mount(t, "size=64k")
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		onceFails(t, dir, "read-only file system")
	})
	t.Run("of another user", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "st") // others must be able to reach it
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		const nobody = 65534
		setpriv := needTool(t, "setpriv")
		readable(t, binary(t, socktally))
		p := start(t, in.env(dir), setpriv, fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups",
			binary(t, socktally), "once", "--env-file", os.DevNull)
		if code := p.wait(t); code != 1 || !strings.Contains(p.stderr.String(), "permission denied") {
			t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
		}
	})
}

// readable lets other users run a binary of the tests.
func readable(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
}
