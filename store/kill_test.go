package store_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"socktally/store"
)

const filled = 1500 // records a bucket: more than one chunk

// fill writes one bucket after the other, as fast as it can, and says which are in the file.
func fill(path string) error {
	s, err := store.Open(store.Options{Path: path, Log: quiet(), Retention: 50 * bucket, MaxBytes: 4 << 20})
	if err != nil {
		return err
	}
	from, err := strconv.ParseInt(os.Getenv("SOCKTALLY_TEST_STORE_FROM"), 10, 64)
	if err != nil {
		return err
	}
	for at := time.Unix(from, 0); ; at = at.Add(bucket) {
		if err := s.Add(at, numbered(at, filled), nil); err != nil {
			return err
		}
		if stats := s.Stats(); stats.WaitingBuckets > 0 || stats.Err != nil || stats.DamagedFiles > 0 {
			return fmt.Errorf("%+v", stats)
		}
		fmt.Println(at.Add(-bucket).Unix()) // this one is only begun
	}
}

func child(t *testing.T, mode, path string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), childVar+"="+mode, "SOCKTALLY_TEST_STORE_PATH="+path), env...)
	return cmd
}

// TestKilled kills the writing process a hundred times, at any point. Each time, all buckets that the process reported as
// written must be in the file, whole. No bucket may be there in part or twice.
func TestKilled(t *testing.T) {
	times := 100
	if testing.Short() {
		times = 10
	}
	path := newPath(t)
	random := rand.New(rand.NewPCG(1, 2))
	from := noon
	var newest int64 // that is known to be in the file
	for range times {
		cmd := child(t, "fill", path, "SOCKTALLY_TEST_STORE_FROM="+strconv.FormatInt(from.Unix(), 10))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // it writes now
		time.AfterFunc(time.Duration(random.IntN(80_000))*time.Microsecond, func() { cmd.Process.Kill() })
		for ok := true; ok; ok = lines.Scan() {
			n, err := strconv.ParseInt(lines.Text(), 10, 64)
			if err != nil {
				t.Fatalf("the writer says %q", lines.Text())
			}
			if n >= from.Unix() {
				newest = n
			}
		}
		cmd.Wait()

		s := open(t, store.Options{Path: path})
		found := whole(t, s)
		last := int64(0)
		for start, n := range found {
			if n != filled {
				t.Fatalf("bucket %d has %d records of %d", start, n, filled)
			}
			last = max(last, start)
		}
		for start := newest - 20*int64(bucket.Seconds()); start <= newest; start += int64(bucket.Seconds()) {
			if start >= noon.Unix() && found[start] == 0 {
				t.Fatalf("bucket %d is missing, though %d was written", start, newest)
			}
		}
		if s.Stats().DamagedFiles+s.Stats().DamagedChunks > 0 {
			t.Fatalf("a kill damaged the file: %+v", s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if last > 0 {
			from = time.Unix(last, 0).Add(bucket)
		}
	}
	t.Logf("%d buckets in %d lives", (from.Unix()-noon.Unix())/int64(bucket.Seconds()), times)
}
