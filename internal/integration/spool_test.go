package integration

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
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
