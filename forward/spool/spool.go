// Package spool keeps samples on disk until a receiver takes them.
//
// A spool is a folder with one file for each batch that was given up. A file is written under a
// temporary name, synced and renamed, and the folder synced, so that a file that has its final name
// is whole; a checksum proves it. Several processes may use one folder: each adds files of its own,
// and whoever holds the folder's lock replays and removes. The kernel frees the lock of a process
// that dies.
package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"socktally/internal/filelock"
	"socktally/metric"
)

const (
	lockName      = "lock"
	quarantineDir = "unreadable"
	tempPrefix    = "tmp-"
	// staleTemp is the age at which a temporary file can only be what a dead process left.
	staleTemp = time.Hour
)

// Limits bound what a spool holds.
type Limits struct {
	// MaxBytes is the size of all files together.
	MaxBytes int64
	// MaxAge is the age of a sample, by its own time.
	MaxAge time.Duration
}

// Spool is one folder. It is safe for concurrent use, by other processes too.
type Spool struct {
	dir    string
	limits Limits
	now    func() time.Time
}

// Dropped is what a spool gave up.
type Dropped struct {
	// Expired samples were older than MaxAge, Evicted ones the oldest beyond MaxBytes.
	Expired, Evicted int
	// Counts are those among them whose values a later sample can still tell.
	Counts []metric.Sample
	// Unreadable is how many files were moved aside, because they are damaged or of another
	// version. They are not deleted.
	Unreadable int
}

// giveUp notes one sample that is not kept.
func (d *Dropped) drop(m metric.Sample, n *int) {
	*n++
	if m.Kind == metric.Count {
		d.Counts = append(d.Counts, m)
	}
}

func (d *Dropped) add(o Dropped) {
	d.Expired += o.Expired
	d.Evicted += o.Evicted
	d.Counts = append(d.Counts, o.Counts...)
	d.Unreadable += o.Unreadable
}

// New returns the spool in the folder dir, which need not exist yet. The ages of samples and of files are
// measured by now, a wall time.
func New(dir string, limits Limits, now func() time.Time) *Spool {
	return &Spool{dir: dir, limits: limits, now: now}
}

// Check returns why samples could not be kept, as far as that can be told without writing any. It
// makes the folder.
func (s *Spool) Check() error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	const writeAndSearch = 2 | 1
	if err := syscall.Access(s.dir, writeAndSearch); err != nil {
		return fmt.Errorf("write to spool %s: %w", s.dir, err)
	}
	return nil
}

// Put keeps samples. When it returns nil they survive a crash of the machine. Where the spool is
// beyond its limits, the oldest files go first and are counted.
func (s *Spool) Put(samples []metric.Sample) (Dropped, error) {
	err := os.MkdirAll(s.dir, 0o750)
	if err == nil {
		err = s.write(samples)
	}
	if err != nil {
		return Dropped{}, fmt.Errorf("write to spool: %w", err)
	}
	unlock, err := s.lock()
	if unlock == nil {
		// Another process replays, and will look after the limits.
		return Dropped{}, err
	}
	defer unlock()
	return s.trim()
}

// Replay hands kept samples to send, the oldest first and at most most at a time, until the spool is
// empty or send returns false. What send returns as rest stays in the spool, all else is removed.
// If another process replays at this moment, Replay does nothing.
//
// A crash after a delivery and before the removal that follows makes the next replay send that part
// once more.
func (s *Spool) Replay(limit int, send func(samples []metric.Sample) (rest []metric.Sample, more bool)) (Dropped, error) {
	var dropped Dropped
	names, err := s.files()
	if err != nil || len(names) == 0 {
		return dropped, err
	}
	unlock, err := s.lock()
	if unlock == nil {
		return dropped, err
	}
	defer unlock()
	dropped, err = s.trim()
	for more := true; more && err == nil; {
		var d Dropped
		more, d, err = s.replayPart(limit, send)
		dropped.add(d)
	}
	return dropped, err
}

// replayPart sends the samples of the oldest files. It returns false if there is no more to do now.
func (s *Spool) replayPart(limit int, send func([]metric.Sample) ([]metric.Sample, bool)) (bool, Dropped, error) {
	var dropped Dropped
	files, err := s.files()
	if err != nil || len(files) == 0 {
		return false, dropped, err
	}
	oldest := s.now().Add(-s.limits.MaxAge)
	var part []metric.Sample
	var taken []file
	for _, f := range files {
		if len(taken) > 0 && len(part)+f.samples > limit {
			break
		}
		samples, err := s.read(f, &dropped)
		if err != nil {
			return false, dropped, err
		}
		taken = append(taken, f)
		for _, m := range samples {
			if m.Time.Before(oldest) {
				dropped.drop(m, &dropped.Expired)
			} else {
				part = append(part, m)
			}
		}
	}
	more := true
	var rest []metric.Sample
	if len(part) > 0 {
		rest, more = send(part)
	}
	if len(rest) > 0 {
		if len(rest) == len(part) && dropped.Expired == 0 {
			return more, dropped, nil // the files say it already
		}
		if err := s.write(rest); err != nil {
			// The files stay whole; what was delivered of them will be sent again.
			return false, dropped, fmt.Errorf("write the rest of a replay to spool: %w", err)
		}
	}
	return more, dropped, s.remove(taken)
}

// read returns the samples of a file. One that is damaged or of another version has none, and is
// moved aside.
func (s *Spool) read(f file, dropped *Dropped) ([]metric.Sample, error) {
	content, err := os.ReadFile(filepath.Join(s.dir, f.name))
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	samples, err := decode(content)
	if err != nil {
		dropped.Unreadable++
		return nil, s.quarantine(f)
	}
	return samples, nil
}

// Bytes returns the size of all files.
func (s *Spool) Bytes() (int64, error) {
	files, err := s.files()
	var n int64
	for _, f := range files {
		n += f.bytes
	}
	return n, err
}

// trim removes what is beyond the limits. The lock is held.
func (s *Spool) trim() (Dropped, error) {
	var dropped Dropped
	files, err := s.files()
	if err != nil {
		return dropped, err
	}
	var size int64
	for _, f := range files {
		size += f.bytes
	}
	oldest := s.now().Add(-s.limits.MaxAge)
	var gone []file
	for _, f := range files {
		reason := &dropped.Evicted
		if f.newest.Before(oldest) {
			reason = &dropped.Expired
		} else if size <= s.limits.MaxBytes {
			continue
		}
		samples, err := s.read(f, &dropped)
		if err != nil {
			return dropped, err
		}
		for _, m := range samples {
			dropped.drop(m, reason)
		}
		size -= f.bytes
		gone = append(gone, f)
	}
	return dropped, s.remove(gone)
}

// file is what the name of a spool file says, so that no file needs to be opened to be counted.
type file struct {
	name    string
	newest  time.Time // of its samples
	samples int
	bytes   int64
}

// nameFormat orders files by the time of their newest sample.
const nameFormat = "%020d-%d-%d-%016x.spool"

func parseName(name string) (file, bool) {
	f := file{name: name}
	var nanos int64
	var unique uint64
	_, err := fmt.Sscanf(name, nameFormat, &nanos, &f.samples, &f.bytes, &unique)
	f.newest = time.Unix(0, nanos)
	return f, err == nil
}

// files lists the spool, oldest first, and removes temporary files of dead processes.
func (s *Spool) files() ([]file, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	var files []file
	for _, e := range entries {
		if f, ok := parseName(e.Name()); ok {
			files = append(files, f)
			continue
		}
		if info, err := e.Info(); err == nil && len(e.Name()) > len(tempPrefix) && e.Name()[:len(tempPrefix)] == tempPrefix && s.now().Sub(info.ModTime()) > staleTemp {
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(a.newest.Compare(b.newest), cmp.Compare(a.name, b.name))
	})
	return files, nil
}

// write makes one file that survives a crash.
func (s *Spool) write(samples []metric.Sample) (err error) {
	content := encode(samples)
	newest := samples[0].Time
	for _, m := range samples {
		if m.Time.After(newest) {
			newest = m.Time
		}
	}
	unique := rand.Uint64()
	temp := filepath.Join(s.dir, fmt.Sprintf("%s%016x", tempPrefix, unique))
	final := filepath.Join(s.dir, fmt.Sprintf(nameFormat, newest.UnixNano(), len(samples), len(content), unique))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return s.syncDir()
}

func (s *Spool) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove deletes files. One that is gone already is no error.
func (s *Spool) remove(files []file) error {
	if len(files) == 0 {
		return nil
	}
	for _, f := range files {
		if err := os.Remove(filepath.Join(s.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove from spool: %w", err)
		}
	}
	return s.syncDir()
}

// putAside keeps a file that cannot be read where no replay meets it again.
func (s *Spool) quarantine(f file) error {
	aside := filepath.Join(s.dir, quarantineDir)
	if err := os.MkdirAll(aside, 0o750); err != nil {
		return fmt.Errorf("put unreadable spool file aside: %w", err)
	}
	if err := os.Rename(filepath.Join(s.dir, f.name), filepath.Join(aside, f.name)); err != nil {
		return fmt.Errorf("put unreadable spool file aside: %w", err)
	}
	return nil
}

// lock takes the folder's lock. It never waits: unlock is nil if another process holds it.
func (s *Spool) lock() (unlock func(), err error) {
	unlock, err = filelock.Try(filepath.Join(s.dir, lockName))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	return unlock, nil
}
