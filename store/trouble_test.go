package store_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
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

// written makes a closed store of so many buckets of 3000 records, and returns its file.
func written(t *testing.T, buckets int) string {
	t.Helper()
	path := newPath(t)
	s := open(t, store.Options{Path: path})
	for i := range buckets {
		at := noon.Add(time.Duration(i) * bucket)
		add(t, s, at, numbered(at, 3000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines is a log that a test can read.
func lines() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func aside(t *testing.T, path string) []string {
	t.Helper()
	names, err := filepath.Glob(path + ".damaged-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDamagedFileIsMovedAside(t *testing.T) {
	cut := func(t *testing.T, path string, more int64) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2/4096*4096+more); err != nil {
			t.Fatal(err)
		}
	}
	overwrite := func(at, n int64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(n)), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(t *testing.T, path string){
		"text": func(t *testing.T, path string) {
			os.WriteFile(path, []byte(strings.Repeat("no database\n", 1000)), 0o600)
		},
		"short text":   func(t *testing.T, path string) { os.WriteFile(path, []byte("no"), 0o600) },
		"header":       overwrite(0, 100),
		"first page":   overwrite(100, 3000),
		"many pages":   overwrite(4096, 10*4096),
		"truncated":    func(t *testing.T, path string) { cut(t, path, 0) },
		"torn":         func(t *testing.T, path string) { cut(t, path, 100) },
		"of others":    func(t *testing.T, path string) { os.Remove(path); foreign(t, path) },
		"without rows": func(t *testing.T, path string) { execute(t, path, "DROP TABLE chunk") },
	} {
		t.Run(name, func(t *testing.T) {
			path := written(t, 4)
			damage(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			log, text := lines()
			s := open(t, store.Options{Path: path, Log: log})
			names := aside(t, path)
			if len(names) != 1 || s.Stats().DamagedFiles != 1 {
				t.Fatalf("aside: %q; %+v", names, s.Stats())
			}
			if after, err := os.ReadFile(names[0]); err != nil || !bytes.Equal(before, after) {
				t.Errorf("what was moved aside is not what was there: %d bytes, %d before, %v", len(after), len(before), err)
			}
			if n := strings.Count(text.String(), "moved aside"); n != 1 || !strings.Contains(text.String(), names[0]) {
				t.Errorf("the log says %q", text)
			}
			add(t, s, noon, numbered(noon, 10))
			add(t, s, noon.Add(bucket), nil)
			if got := whole(t, s); got[noon.Unix()] != 10 || len(got) != 1 || s.Stats().WaitingBuckets > 0 {
				t.Errorf("the new one has %v", got)
			}
		})
	}
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func foreign(t *testing.T, path string) { execute(t, path, "CREATE TABLE other (a)") }

// TestDamagedChunk: what is damaged within is skipped, and the rest is read.
func TestDamagedChunk(t *testing.T) {
	for name, damage := range map[string]string{
		"changed": "UPDATE chunk SET payload = randomblob(3000) WHERE id = 2",
		"short":   "UPDATE chunk SET payload = substr(payload, 1, 100) WHERE id = 2",
		"empty":   "UPDATE chunk SET payload = x'' WHERE id = 2",
	} {
		t.Run(name, func(t *testing.T) {
			path := written(t, 3)
			execute(t, path, damage)
			log, text := lines()
			s := open(t, store.Options{Path: path, Log: log})
			for range 2 {
				got := whole(t, s)
				if got[noon.Unix()] != 2000 || got[noon.Add(bucket).Unix()] != 3000 || len(got) != 3 {
					t.Errorf("%v", got)
				}
			}
			if st := s.Stats(); st.DamagedChunks != 2 || st.DamagedFiles != 0 {
				t.Errorf("%+v", st)
			}
			if n := strings.Count(text.String(), "skipped"); n != 1 {
				t.Errorf("said %d times: %q", n, text)
			}
		})
	}
}

// TestDamageWhileOpen: the bucket that finds the file damaged is in the new one.
func TestDamageWhileOpen(t *testing.T) {
	path := written(t, 4)
	s := open(t, store.Options{Path: path})
	add(t, s, noon.Add(10*bucket), numbered(noon.Add(10*bucket), 100))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// A crash of this process is not what is tested: SQLite's own locks may go when f is closed.
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())), 0); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		at := noon.Add(time.Duration(11+i) * bucket)
		add(t, s, at, numbered(at, 100))
	}
	got := whole(t, s)
	if got[noon.Add(10*bucket).Unix()] != 100 || len(got) != 4 || len(aside(t, path)) != 1 {
		t.Errorf("%v; %q; %+v", got, aside(t, path), s.Stats())
	}
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
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
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
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
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
	t.Run("full", func(t *testing.T) {
		_, err := store.Open(store.Options{Path: filepath.Join(mount(t, "size=4k"), "store.db"), Log: quiet()})
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
