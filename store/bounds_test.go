package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"socktally/record"
	"socktally/store"
)

func tempDir(t interface {
	Fatal(...any)
	Cleanup(func())
}) string {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestIntervals selects buckets that overlap, the open one too.
func TestIntervals(t *testing.T) {
	s := open(t, store.Options{Path: newPath(t)})
	for i := range 3 {
		add(t, s, noon.Add(time.Duration(i)*bucket), numbered(noon, i+1))
	}
	for _, c := range []struct{ from, to, want time.Duration }{
		{0, 0, 0}, {bucket, 0, 0}, {0, 1, 1}, {0, bucket, 1}, {0, bucket + 1, 1 + 2},
		{bucket - 1, bucket, 1}, {bucket, 2 * bucket, 2}, {2*bucket - 1, 3 * bucket, 2 + 3},
		{-time.Hour, 0, 0}, {3 * bucket, time.Hour, 0}, {2*bucket + time.Minute, 2*bucket + 2*time.Minute, 3},
	} {
		n := time.Duration(0)
		err := s.Connections(context.Background(), noon.Add(c.from), noon.Add(c.to), func(*record.Flow) error { n++; return nil })
		if err != nil || n != c.want {
			t.Errorf("from %v to %v: %d records, %v; want %d", c.from, c.to, n, err, c.want)
		}
	}
	stop := errors.New("stop")
	n := 0
	err := s.Connections(context.Background(), noon, noon.Add(bucket*2), func(*record.Flow) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("yield ran %d times, then %v", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Connections(ctx, noon, noon.Add(bucket), func(*record.Flow) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: %v", err)
	}
}

func TestRetention(t *testing.T) {
	s := open(t, store.Options{Path: newPath(t), Retention: 10 * bucket})
	for i := range 30 {
		add(t, s, noon.Add(time.Duration(i)*bucket), numbered(noon.Add(time.Duration(i)*bucket), 10))
	}
	// A day later, and until all of it has gone.
	for i := range 30 {
		at := noon.Add(24*time.Hour + time.Duration(i)*30*time.Second)
		add(t, s, at, nil)
	}
	if left := whole(t, s); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if st := s.Stats(); st.DroppedBuckets != 0 || !st.Oldest.IsZero() {
		t.Errorf("what is old is not dropped for want of room: %+v", st)
	}
}

func TestRetentionKeepsWhatItShould(t *testing.T) {
	for _, path := range []string{newPath(t), ""} {
		s := open(t, store.Options{Path: path, Retention: 10 * bucket})
		for i := range 40 {
			at := noon.Add(time.Duration(i) * bucket)
			add(t, s, at, numbered(at, 10))
		}
		got := slices.Sorted(maps.Keys(whole(t, s)))
		// The bucket before the open one counts back, so one more is kept.
		if want := noon.Add((39 - 11) * bucket).Unix(); got[0] != want || len(got) != 12 || s.Stats().Oldest.Unix() != want {
			t.Errorf("%q: %d buckets from %d, want 12 from %d; %+v", path, len(got), got[0], want, s.Stats())
		}
	}
}

// TestClockSteps sets the clock wrong for a while, forward and back.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour, -7 * time.Minute} {
		s := open(t, store.Options{Path: newPath(t), Retention: 24 * time.Hour})
		want := map[int64]int{}
		put := func(at time.Time) {
			start := at.Truncate(bucket)
			records := numbered(start, want[start.Unix()]+1)
			add(t, s, at, records[want[start.Unix()]:]) // the next number of the bucket
			want[start.Unix()]++
		}
		for i := range 40 {
			put(noon.Add(time.Duration(i) * 30 * time.Second))
		}
		for i := range 5 {
			put(noon.Add(20*time.Minute + step + time.Duration(i)*30*time.Second))
		}
		for i := range 40 {
			put(noon.Add(22*time.Minute + time.Duration(i)*30*time.Second))
		}
		// What was written while the clock was wrong by years may go; all else stays.
		got := whole(t, s)
		for start, n := range want {
			far := time.Unix(start, 0).Sub(noon).Abs() > 48*time.Hour
			if got[start] != n && !far {
				t.Errorf("step %v: bucket %d has %d records, want %d", step, start-noon.Unix(), got[start], n)
			}
		}
		if len(got) > len(want) || s.Stats().DroppedBuckets > 0 {
			t.Errorf("step %v: %v, want %v", step, got, want)
		}
	}
}

func TestSizeIsBounded(t *testing.T) {
	const most = 3 << 20
	path := newPath(t)
	s := open(t, store.Options{Path: path, MaxBytes: most})
	host := newBusy(5000, 1)
	for i := range 60 {
		records, queries := host.next()
		add(t, s, noon.Add(time.Duration(i)*bucket), records, queries...)
		if n := s.Stats().FileBytes; n > most {
			t.Fatalf("after %d buckets the file has %d bytes", i, n)
		}
	}
	st := s.Stats()
	if st.DroppedBuckets == 0 || st.DroppedRecords < 5000*st.DroppedBuckets || st.Err != nil {
		t.Errorf("%+v", st)
	}
	if oldest := st.Oldest; !oldest.Equal(noon.Add(time.Duration(st.DroppedBuckets) * bucket)) {
		t.Errorf("%d buckets were dropped and the oldest is %v", st.DroppedBuckets, oldest.Sub(noon)/bucket)
	}
	if used := st.FileBytes; used < most*3/4 || st.DroppedBuckets > 45 {
		t.Errorf("of %d bytes it uses only %d, and dropped %d buckets", most, used, st.DroppedBuckets)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// With a lower limit, the same file becomes smaller.
	s = open(t, store.Options{Path: path, MaxBytes: most / 3})
	for i := range 3 {
		records, queries := host.next()
		add(t, s, noon.Add(time.Duration(60+i)*bucket), records, queries...)
	}
	if n := s.Stats().FileBytes; n > most/3 {
		t.Errorf("the file has %d bytes, though no more than %d are allowed now", n, most/3)
	}
	// A bucket that is larger than all is dropped, and does not stop those after it.
	large := newBusy(60_000, 2)
	records, queries := large.next()
	add(t, s, noon.Add(70*bucket), records, queries...)
	add(t, s, noon.Add(71*bucket), numbered(noon.Add(71*bucket), 10))
	add(t, s, noon.Add(72*bucket), nil)
	if st := s.Stats(); st.WaitingBuckets != 0 || st.Err != nil || st.Oldest != noon.Add(71*bucket) {
		t.Errorf("%+v", st)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := open(t, store.Options{Retention: 1000 * time.Hour})
	host := newBusy(60_000, 1)
	for i := range 12 {
		records, _ := host.next()
		add(t, s, noon.Add(time.Duration(i)*bucket), records)
	}
	st := s.Stats()
	if st.MemoryBytes > 8<<20 || st.MemoryBytes < 4<<20 || st.DroppedBuckets == 0 || st.WaitingBuckets != 0 || st.Err != nil {
		t.Errorf("%+v", st)
	}
	if err := s.Ready(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestFolds: records that come when their bucket is full are added up together.
func TestFolds(t *testing.T) {
	const room, more = 100_000, 500
	for _, path := range []string{"", newPath(t)} {
		s := open(t, store.Options{Path: path})
		var records []record.Flow
		var queries []record.DNS
		for i := range room + more {
			r := record.Flow{Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Incoming}
			r.Server.Addr, r.Client.Owner.Service = here, fmt.Sprint("service-", i)
			r.Established = 2
			records = append(records, r)
			queries = append(queries, query(fmt.Sprintf("host-%d.invalid", i), 100))
		}
		add(t, s, noon, records, queries...)
		add(t, s, noon, records[:1], queries[:1]...) // what is known still has its place
		var n, sum, folded uint64
		err := s.Connections(context.Background(), noon, noon.Add(bucket), func(r *record.Flow) error {
			n++
			sum += r.Established
			if r.Overflow() {
				folded = r.Established
				if r.Direction != record.Incoming || r.Protocol != "tcp" || r.Family != "" || r.Client.Owner.Service != "" {
					t.Errorf("%+v", r)
				}
			}
			return nil
		})
		if err != nil || n != room+1 || sum != 2*(room+more+1) || folded != 2*more {
			t.Errorf("%d records, %d connections, %d of them folded; %v", n, sum, folded, err)
		}
		n, sum, folded = 0, 0, 0
		err = s.DNS(context.Background(), noon, noon.Add(bucket), func(r *record.DNS) error {
			n++
			sum += r.SuccessLatency.Count()
			if r.Name == record.Other {
				folded = r.Requests
			}
			return nil
		})
		if err != nil || n != room+1 || sum != room+more+1 || folded != more {
			t.Errorf("%d queries, %d answers, %d folded; %v", n, sum, folded, err)
		}
		if st := s.Stats(); st.FoldedRecords != 2*more {
			t.Errorf("%+v", st)
		}
	}
}
