package store_test

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
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
