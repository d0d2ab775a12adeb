// Package spool keeps samples on disk until a receiver takes them.
//
// A spool is a folder with one file for each batch that could not be delivered. A file is written under a temporary name,
// synced and renamed; then the folder is synced. So a file with its final name is complete, and it has a checksum. Several
// processes may use one folder. Each adds its own files. Only the process that has the folder's lock replays and removes
// files. If that process dies, the kernel frees the lock.
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
	// staleTemp is the age at which a temporary file must be from a process that has died.
	staleTemp = time.Hour
)

// Limits are the limits of a spool.
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

// Dropped is what a spool has removed without delivery.
type Dropped struct {
	// Expired is the number of samples that were older than MaxAge. Evicted is the number of samples that were removed
	// because the files were larger than MaxBytes.
	Expired, Evicted int
	// Counts are the counts among these samples. Later samples may include their values.
	Counts []metric.Sample
	// Unreadable is how many files were moved to another folder, because they are damaged or have another version.
	Unreadable int
}

// drop counts one sample that is removed. n is the counter.
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

// New returns the spool in the folder dir, which need not exist yet. now is the wall time, by which the age of samples and
// files is measured.
func New(dir string, limits Limits, now func() time.Time) *Spool {
	return &Spool{dir: dir, limits: limits, now: now}
}

// Check returns an error if samples cannot be kept. It makes the folder, but writes no file.
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

// Put writes samples to the spool. If it returns nil, they survive a crash of the machine. If the spool is larger than its
// limits then, it removes the oldest files.
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
		// Another process has the lock and will apply the limits.
		return Dropped{}, err
	}
	defer unlock()
	return s.trim()
}

// Replay calls send with kept samples, the oldest first, at most limit samples in one call. It goes on until the spool is
// empty or send returns more == false. Samples that send returns as rest stay in the spool; all others are removed. If
// another process is replaying, Replay does nothing.
//
// Samples are removed after they are delivered. After a crash between the two, the next replay delivers them again.
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

// replayPart calls send once, with the samples of the oldest files. It returns false if there is nothing more to do.
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
			return more, dropped, nil // the files have exactly these samples already
		}
		if err := s.write(rest); err != nil {
			// The files stay as they are, so what was delivered of them will be sent again.
			return false, dropped, fmt.Errorf("write the rest of a replay to spool: %w", err)
		}
	}
	return more, dropped, s.remove(taken)
}

// read returns the samples of a file. If the file is damaged or has another version, it has no samples and is moved to
// quarantineDir.
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

// trim removes the oldest files until the spool is within its limits. The caller must have the lock.
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

// file is the information in the name of a spool file. With it, files can be counted without opening them.
type file struct {
	name    string
	newest  time.Time // of its samples
	samples int
	bytes   int64
}

// nameFormat begins with the time of the newest sample, so that names sort by time.
const nameFormat = "%020d-%d-%d-%016x.spool"

func parseName(name string) (file, bool) {
	f := file{name: name}
	var nanos int64
	var unique uint64
	_, err := fmt.Sscanf(name, nameFormat, &nanos, &f.samples, &f.bytes, &unique)
	f.newest = time.Unix(0, nanos)
	return f, err == nil
}

// files lists the files of the spool, the oldest first. It removes temporary files of processes that have died.
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

// write writes one file in such a way that it survives a crash.
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

// remove deletes files. It is no error if a file does not exist any more.
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

// quarantine moves a file that cannot be read to a folder that is not replayed.
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

// lock takes the lock of the folder. It does not wait: unlock is nil if another process has the lock.
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
