package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"socktally/metric"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func at(d time.Duration) func() time.Time { return func() time.Time { return start.Add(d) } }

var roomy = Limits{MaxBytes: 64 << 20, MaxAge: time.Hour}

// batch makes n samples of one moment.
func batch(n int, t time.Time) []metric.Sample {
	samples := make([]metric.Sample, n)
	for i := range samples {
		samples[i] = metric.Sample{Name: "sockstat.tcp.inuse", Value: float64(i) + 0.1, Time: t, Tags: []string{"n:1", "t:\"|,é"}}
	}
	samples[0] = metric.Sample{Name: metric.Readings, Kind: metric.Count, Value: 1, Time: t, Interval: 15 * time.Second}
	return samples
}

func put(t *testing.T, s *Spool, samples []metric.Sample) Dropped {
	t.Helper()
	d, err := s.Put(samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// all replays everything and returns what was sent in each call.
func all(t *testing.T, s *Spool, most int) ([][]metric.Sample, Dropped) {
	t.Helper()
	var parts [][]metric.Sample
	d, err := s.Replay(most, func(part []metric.Sample) ([]metric.Sample, bool) {
		parts = append(parts, slices.Clone(part))
		return nil, true
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts, d
}

func equal(a, b []metric.Sample) bool {
	return slices.EqualFunc(a, b, func(a, b metric.Sample) bool {
		return a.Name == b.Name && a.Kind == b.Kind && a.Value == b.Value && a.Time.Equal(b.Time) && a.Interval == b.Interval && slices.Equal(a.Tags, b.Tags)
	})
}

func TestReplayIsWholeAndOldestFirst(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "not", "there", "yet"), roomy, at(time.Minute))
	var want []metric.Sample
	for _, i := range []int{2, 0, 1} { // not in the order of time
		put(t, s, batch(3, start.Add(time.Duration(i)*time.Second)))
	}
	for i := range 3 {
		want = append(want, batch(3, start.Add(time.Duration(i)*time.Second))...)
	}
	parts, dropped := all(t, s, 4)
	if len(parts) != 3 {
		t.Errorf("%d parts, want 3: two files do not fit into a part of 4", len(parts))
	}
	if got := slices.Concat(parts...); !equal(got, want) {
		t.Errorf("replayed\n%v\nwant\n%v", got, want)
	}
	if dropped.Expired+dropped.Evicted+dropped.Unreadable > 0 {
		t.Errorf("dropped %+v", dropped)
	}
	if again, _ := all(t, s, 4); again != nil {
		t.Errorf("a second replay sent %v", again)
	}
}

func TestReplayKeepsTheRest(t *testing.T) {
	s := New(t.TempDir(), roomy, at(0))
	samples := batch(5, start)
	put(t, s, samples)
	calls := 0
	if _, err := s.Replay(100, func(part []metric.Sample) ([]metric.Sample, bool) {
		calls++
		return part[3:], false
	}); err != nil || calls != 1 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	parts, _ := all(t, s, 100)
	if len(parts) != 1 || !equal(parts[0], samples[3:]) {
		t.Errorf("the second replay sent %v, want the last two samples", parts)
	}
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name             string
		limits           Limits
		now              time.Duration
		expired, evicted int
		left             int
	}{
		{"within both", roomy, time.Minute, 0, 0, 30},
		{"too old", roomy, time.Hour + 5*time.Second, 15, 0, 15},
		{"too old, all", roomy, 2 * time.Hour, 30, 0, 0},
		{"too many", Limits{MaxBytes: 4 * int64(len(encode(batch(3, start)))), MaxAge: time.Hour}, time.Minute, 0, 18, 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := start
			s := New(t.TempDir(), test.limits, func() time.Time { return now })
			var d Dropped
			for i := range 10 {
				d.add(put(t, s, batch(3, start.Add(time.Duration(i)*time.Second))))
			}
			now = start.Add(test.now)
			parts, more := all(t, s, 100)
			d.add(more)
			if d.Expired != test.expired || d.Evicted != test.evicted {
				t.Errorf("expired %d, evicted %d; want %d and %d", d.Expired, d.Evicted, test.expired, test.evicted)
			}
			if left := len(slices.Concat(parts...)); left != test.left {
				t.Errorf("%d samples were left, want %d", left, test.left)
			}
			// One sample in three is a count. Its value is not lost.
			if want := (test.expired + test.evicted) / 3; len(d.Counts) != want {
				t.Errorf("%d counts given back, want %d", len(d.Counts), want)
			}
		})
	}
}

// TestOldSamplesInAYoungFile has a new file with old samples, as a replay may leave.
func TestOldSamplesInAYoungFile(t *testing.T) {
	s := New(t.TempDir(), roomy, at(time.Hour+time.Second))
	put(t, s, append(batch(2, start), batch(3, start.Add(time.Minute))...))
	parts, d := all(t, s, 100)
	if d.Expired != 2 || len(parts) != 1 || len(parts[0]) != 3 {
		t.Errorf("expired %d, replayed %v", d.Expired, parts)
	}
}

func TestUnreadableFilesAreMovedAside(t *testing.T) {
	whole := encode(batch(3, start))
	name := func(i int) string { return fmt.Sprintf(nameFormat, start.UnixNano(), 3, len(whole), i) }
	for what, content := range map[string][]byte{
		"torn":          whole[:len(whole)/2],
		"empty":         nil,
		"a flipped bit": slices.Concat(whole[:60], []byte{whole[60] ^ 1}, whole[61:]),
		"version 2":     []byte(strings.Replace(string(whole), "spool 1", "spool 2", 1)),
		"version 0":     []byte(strings.Replace(string(whole), "spool 1", "spool 0", 1)),
		"grown":         slices.Concat(whole, whole),
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := New(dir, roomy, at(0))
			if err := os.WriteFile(filepath.Join(dir, name(1)), content, 0o600); err != nil {
				t.Fatal(err)
			}
			put(t, s, batch(3, start))
			parts, d := all(t, s, 100)
			if d.Unreadable != 1 || len(parts) != 1 || len(parts[0]) != 3 {
				t.Errorf("unreadable %d, replayed %v; want 1 and the whole file", d.Unreadable, parts)
			}
			if kept, err := os.ReadFile(filepath.Join(dir, quarantineDir, name(1))); err != nil || string(kept) != string(content) {
				t.Errorf("the file was not kept as it was: %v", err)
			}
		})
	}
}

func TestTemporaryFilesOfDeadProcessesGo(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, roomy, at(0))
	old, young := filepath.Join(dir, "tmp-1"), filepath.Join(dir, "tmp-2")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, at := range map[string]time.Time{old: start.Add(-2 * staleTemp), young: start} {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if parts, _ := all(t, s, 100); parts != nil {
		t.Errorf("replayed %v from temporary files", parts)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Error("the old temporary file is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("the young temporary file, which another process may be writing, is gone")
	}
}

// TestManyUsers has many goroutines that write to one folder and replay it. Each has its own Spool, as a process would have.
// Every sample is sent exactly once.
func TestManyUsers(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	seen := map[string]int{}
	var users sync.WaitGroup
	for user := range 20 {
		users.Go(func() {
			s := New(dir, roomy, at(0))
			for i := range 20 {
				m := metric.Sample{Name: "sockstat.tcp.inuse", Time: start, Tags: []string{fmt.Sprintf("n:%d.%d", user, i)}}
				if _, err := s.Put([]metric.Sample{m}); err != nil {
					t.Error(err)
				}
				_, err := s.Replay(7, func(part []metric.Sample) ([]metric.Sample, bool) {
					mu.Lock()
					defer mu.Unlock()
					for _, m := range part {
						seen[m.Tags[0]]++
					}
					return nil, true
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	// Samples that were put while another one had the lock are still there.
	parts, _ := all(t, New(dir, roomy, at(0)), 1000)
	for _, m := range slices.Concat(parts...) {
		seen[m.Tags[0]]++
	}
	for tag, n := range seen {
		if n != 1 {
			t.Errorf("%s was sent %d times", tag, n)
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d samples were sent, want 400", len(seen))
	}
}

func TestCheck(t *testing.T) {
	if err := New(filepath.Join(t.TempDir(), "a", "b"), roomy, at(0)).Check(); err != nil {
		t.Errorf("a folder that can be made: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(file, roomy, at(0)).Check(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a plain file: error %v, want one that names it", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(batch(3, start)))
	f.Add([]byte(header))
	f.Add([]byte(header + "{}\ncrc32 00000000\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		samples, err := decode(content)
		if err != nil || len(samples) == 0 {
			return
		}
		again, err := decode(encode(samples))
		if err != nil || !equal(again, samples) {
			t.Errorf("decoded %v, and after writing it again %v, %v", samples, again, err)
		}
	})
}

// BenchmarkReplay replays 100,000 samples. Each file has one reading.
func BenchmarkReplay(b *testing.B) {
	const files, each = 2500, 40
	for b.Loop() {
		b.StopTimer()
		s := New(b.TempDir(), roomy, at(0))
		for i := range files {
			if err := os.MkdirAll(s.dir, 0o750); err != nil {
				b.Fatal(err)
			}
			samples := batch(each, start.Add(time.Duration(i)*time.Second))
			content := encode(samples)
			name := fmt.Sprintf(nameFormat, samples[0].Time.UnixNano(), each, len(content), i)
			if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
				b.Fatal(err)
			}
		}
		var peak uint64
		n := 0
		b.StartTimer()
		_, err := s.Replay(2000, func(part []metric.Sample) ([]metric.Sample, bool) {
			n += len(part)
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			return nil, true
		})
		if err != nil || n != files*each {
			b.Fatalf("replayed %d: %v", n, err)
		}
		b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MiB")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*files*each), "ns/sample")
}
