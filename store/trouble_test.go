package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"socktally/store"
)

// lines is a log that a test can read.
func lines() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func TestNewerVersion(t *testing.T) {
	path := written(t, 2)
	execute(t, path, "PRAGMA user_version = 1000")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(store.Options{Path: path, Log: quiet()})
	if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "1000") {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) || len(aside(t, path)) > 0 {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestTwoProcesses(t *testing.T) {
	path := newPath(t)
	cmd := child(t, "hold", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	if _, err := store.Open(store.Options{Path: path, Log: quiet()}); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("beside another process: %v", err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	open(t, store.Options{Path: path})
	if _, err := store.Open(store.Options{Path: path, Log: quiet()}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("twice in a process: %v", err)
	}
}

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a ?#%b.db") // a name that a URI would cut
	s := open(t, store.Options{Path: path})
	add(t, s, noon, numbered(noon, 10))
	add(t, s, noon.Add(bucket), nil)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if len(entries) != 4 {
		t.Errorf("%v", entries)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, store.Options{Path: newPath(t)})
	if err := errors.Join(s.Ready(context.Background()), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if s.Ready(context.Background()) == nil || s.Add(noon, nil, nil) == nil || s.Connections(context.Background(), noon, noon.Add(1), nil) == nil {
		t.Error("a closed store works")
	}
}

// mount mounts a tmpfs, or skips the test.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options)
	if err != nil {
		if os.Getenv("SOCKTALLY_TEST_PRIVILEGED") == "1" {
			t.Fatal(err)
		}
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillUp leaves no room in a folder; free removes what does that.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullAtStart opens a store on a disk that is full.
func TestFullAtStart(t *testing.T) {
	dir := mount(t, "size=2m")
	path := filepath.Join(dir, "store.db")
	s := open(t, store.Options{Path: path})
	add(t, s, noon, numbered(noon, 100))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free := fillUp(t, dir)
	log, text := lines()
	s = open(t, store.Options{Path: path, Log: log})
	if s.Ready(context.Background()) == nil || s.Stats().Err == nil {
		t.Errorf("it says nothing: %+v", s.Stats())
	}
	add(t, s, noon.Add(bucket), numbered(noon.Add(bucket), 100))
	add(t, s, noon.Add(2*bucket), nil)
	if got := whole(t, s); len(got) != 1 {
		t.Errorf("%v", got)
	}
	free()
	add(t, s, noon.Add(2*bucket), nil)
	if got := whole(t, s); len(got) != 2 || s.Stats().WaitingBuckets > 0 || s.Stats().Err != nil || s.Ready(context.Background()) != nil {
		t.Errorf("with room again: %v, %+v", got, s.Stats())
	}
	if n := strings.Count(text.String(), "\n"); n != 2 {
		t.Errorf("the log says %q", text)
	}
}

func TestFullDisk(t *testing.T) {
	dir := mount(t, "size=2m")
	log, text := lines()
	s := open(t, store.Options{Path: filepath.Join(dir, "store.db"), Log: log})
	at := noon
	put := func(n int) {
		t.Helper()
		add(t, s, at, numbered(at, n))
		at = at.Add(bucket)
	}
	for range 3 {
		put(2000)
	}
	free := fillUp(t, dir)
	for range 5 {
		put(2000)
	}
	st := s.Stats()
	if st.WaitingBuckets < 3 || st.Err == nil || st.DroppedBuckets > 0 {
		t.Errorf("on a full disk: %+v", st)
	}
	if got := whole(t, s); len(got) != 8 {
		t.Errorf("what waits cannot be read: %v", got)
	}
	free()
	put(2000)
	if st := s.Stats(); st.WaitingBuckets != 0 || st.Err != nil || st.DroppedBuckets > 0 {
		t.Errorf("with room again: %+v", st)
	}
	if got := whole(t, s); len(got) != 9 {
		t.Errorf("%v", got)
	}
	if n, again := strings.Count(text.String(), "cannot be written"), strings.Count(text.String(), "written again"); n != 1 || again != 1 {
		t.Errorf("the log says %q", text)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestFullForLong has a disk full until memory is, too.
func TestFullForLong(t *testing.T) {
	dir := mount(t, "size=300k")
	log, text := lines()
	s := open(t, store.Options{Path: filepath.Join(dir, "store.db"), Log: log})
	host := newBusy(30_000, 1)
	for i := range 25 {
		records, _ := host.next()
		add(t, s, noon.Add(time.Duration(i)*bucket), records)
	}
	st := s.Stats()
	if st.MemoryBytes > 8<<20 || st.DroppedBuckets == 0 || st.WaitingBuckets == 0 || uint64(st.WaitingBuckets)+st.DroppedBuckets != 24 {
		t.Errorf("%+v", st)
	}
	if n := strings.Count(text.String(), "\n"); n != 1 {
		t.Errorf("the log says %q", text)
	}
	if err := s.Close(); err == nil {
		t.Error("Close says nothing of what is lost")
	}
}

func TestNotWritable(t *testing.T) {
	says := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrNotWritable) {
			t.Errorf("%v", err)
		}
	}
	t.Run("file in the way", func(t *testing.T) {
		path := newPath(t)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := store.Open(store.Options{Path: filepath.Join(path, "store.db"), Log: quiet()})
		says(t, err)
	})
	t.Run("folder in the way", func(t *testing.T) {
		_, err := store.Open(store.Options{Path: t.TempDir(), Log: quiet()})
		says(t, err)
	})
	t.Run("read-only", func(t *testing.T) {
		dir := mount(t, "size=2m")
		path := filepath.Join(dir, "store.db")
		if err := open(t, store.Options{Path: path}).Close(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		_, err := store.Open(store.Options{Path: path, Log: quiet()})
		says(t, err)
	})
	t.Run("of another user", func(t *testing.T) {
		dir := tempDir(t)
		cmd := child(t, "open", filepath.Join(dir, "store.db"))
		if os.Geteuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			cmd.Path = readable(t, cmd.Path)
			err := os.Chmod(dir, 0o755)
			if err != nil {
				t.Fatal(err)
			}
		} else if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "not writable: ") || !strings.Contains(string(out), "permission denied") {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// readable is a copy of the test's binary that other users can run.
func readable(t *testing.T, path string) string {
	t.Helper()
	dir := tempDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "test"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}
