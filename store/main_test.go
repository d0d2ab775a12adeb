package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"socktally/record"
	"socktally/store"
)

const (
	childVar = "SOCKTALLY_TEST_STORE_CHILD"
	bucket   = 5 * time.Minute
)

var noon = time.Unix(1_800_000_000, 0) // the start of a bucket

var here = netip.MustParseAddr("192.0.2.10")

// TestMain runs what a test needs a process of its own for.
func TestMain(m *testing.M) {
	child := map[string]func(path string) error{"fill": fill, "hold": hold, "open": openOnly}[os.Getenv(childVar)]
	if child == nil {
		os.Exit(m.Run())
	}
	if err := child(os.Getenv("SOCKTALLY_TEST_STORE_PATH")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// open opens a store that closes with the test.
func open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "store.db") }

// numbered are n records of which each has its number and says to which bucket it belongs.
func numbered(at time.Time, n int) []record.Flow {
	records := make([]record.Flow, n)
	for i := range records {
		records[i] = record.Flow{Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Outgoing}
		records[i].Server.Port = uint16(i + 1)
		records[i].BytesSentByClient = uint64(at.Unix())
	}
	return records
}

func add(t testing.TB, s *store.Store, at time.Time, records []record.Flow, queries ...record.DNS) {
	t.Helper()
	if err := s.Add(at, records, queries); err != nil {
		t.Fatal(err)
	}
}

// whole reads everything, and returns how many records of numbered each bucket has. It fails if one of
// them is there twice.
func whole(t testing.TB, s *store.Store) map[int64]int {
	t.Helper()
	counts := map[int64]int{}
	type id struct {
		bucket int64
		port   uint16
	}
	seen := map[id]bool{}
	last := int64(0)
	err := s.Connections(context.Background(), time.Unix(0, 0), time.Unix(1<<40, 0), func(r *record.Flow) error {
		k := id{int64(r.BytesSentByClient), r.Server.Port}
		if seen[k] {
			t.Errorf("record %d of bucket %d is there twice", k.port, k.bucket)
		}
		if k.bucket < last {
			t.Errorf("a record of bucket %d comes after one of %d", k.bucket, last)
		}
		seen[k], last = true, k.bucket
		counts[k.bucket]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func query(name string, us int) record.DNS {
	r := record.DNS{Name: name, Type: "A", DNSCounts: record.DNSCounts{Requests: 1, Successes: 1}}
	r.SuccessLatency.Add(time.Duration(us) * time.Microsecond)
	return r
}

// hold keeps a store open until its input ends.
func hold(path string) error {
	s, err := store.Open(store.Options{Path: path, Log: quiet()})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println("open")
	_, err = io.ReadAll(os.Stdin)
	return err
}

// openOnly says how opening ends.
func openOnly(path string) error {
	s, err := store.Open(store.Options{Path: path, Log: quiet()})
	switch {
	case errors.Is(err, store.ErrNotWritable):
		fmt.Println("not writable:", err)
		return nil
	case err != nil:
		return err
	}
	fmt.Println("opened")
	return s.Close()
}
