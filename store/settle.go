package store

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settle writes the waiting buckets, deletes old ones, and drops what is too much for memory.
func (s *Store) settle() {
	if s.options.Path != "" {
		s.report(s.flush(context.Background()))
	}
	s.trim()
}

// flush writes the waiting buckets and deletes old ones. If the file is damaged, it is replaced first.
func (s *Store) flush(ctx context.Context) error {
	s.mu.Lock()
	err := s.suspect
	s.suspect = nil
	s.mu.Unlock()
	if err == nil {
		err = s.update(ctx)
	}
	if damaged(err) {
		if err = s.replaceFile(err); err == nil {
			err = s.update(ctx)
		}
	}
	return err
}

func (s *Store) update(ctx context.Context) error {
	if s.file == nil { // an earlier one could not be replaced
		f, err := openFile(ctx, s.options.Path, s.options.MaxBytes)
		if err != nil {
			return err
		}
		s.setFile(f)
	}
	if err := s.writeWaiting(ctx); err != nil {
		return err
	}
	if from, to := s.keeps(); from > math.MinInt64 {
		return s.file.prune(ctx, from, to)
	}
	return nil
}

// writeWaiting writes the buckets that wait, in the order in which they ended.
func (s *Store) writeWaiting(ctx context.Context) error {
	var tooLarge error
	for {
		s.mu.Lock()
		var chunks []stored
		if len(s.waiting) > 0 {
			chunks = s.waiting[0]
		}
		s.mu.Unlock()
		if chunks == nil {
			return tooLarge
		}
		id, lost, err := s.file.write(ctx, chunks)
		if errors.Is(err, errTooLarge) {
			tooLarge = err
			lost.add(lossOf(chunks))
			err = nil
		}
		s.mu.Lock()
		s.stats.drop(lost)
		if err == nil {
			// Under the same lock as lastID, so that a reader finds the bucket either here or in the file, never in both.
			s.waiting = s.waiting[1:]
			s.file.lastID = max(s.file.lastID, id)
		}
		s.mu.Unlock()
		if err == nil {
			err = s.file.checkpoint(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// keeps returns the lowest and the highest start of the buckets that are kept. The clock may be wrong for a while, and
// that should not delete records. So a bucket is too old, or too far in the future, only if it is so for both of the
// last two buckets. In the file, prune then deletes at most two buckets at a time.
func (s *Store) keeps() (from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || s.previous == notYet || s.options.Retention <= 0 {
		return math.MinInt64, math.MaxInt64
	}
	retention := int64(s.options.Retention / time.Second)
	return min(s.open.start, s.previous) - retention - bucketSeconds + 1, max(s.open.start, s.previous) + retention
}

// trim drops the oldest buckets in memory until the rest is within its limit. Without a file it also drops those that
// keeps does not keep.
func (s *Store) trim() {
	from, to := s.keeps()
	s.mu.Lock()
	defer s.mu.Unlock()
	most := int64(memoryBytes)
	if s.options.Path == "" {
		most = s.options.MaxBytes
		kept := s.waiting[:0]
		for _, chunks := range s.waiting {
			if chunks[0].start >= from && chunks[0].start <= to {
				kept = append(kept, chunks)
			}
		}
		clear(s.waiting[len(kept):])
		s.waiting = kept
	}
	size := int64(0)
	for i := len(s.waiting) - 1; i >= 0; i-- {
		for _, c := range s.waiting[i] {
			size += int64(len(c.payload))
		}
		if size > most {
			for _, chunks := range s.waiting[:i+1] {
				s.stats.drop(lossOf(chunks))
			}
			s.waiting = append([][]stored(nil), s.waiting[i+1:]...)
			return
		}
	}
}

func lossOf(chunks []stored) loss {
	l := loss{buckets: 1}
	for _, c := range chunks {
		l.records += uint64(c.records)
	}
	return l
}

// report logs when the file can no longer be written, and when it can be written again.
func (s *Store) report(err error) {
	s.mu.Lock()
	before := s.stats.Err
	s.stats.Err = err
	s.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.options.Log.Warn("store cannot be written: records wait in memory", "path", s.options.Path, "error", err)
	case err == nil && before != nil:
		s.options.Log.Info("store is written again", "path", s.options.Path)
	}
}

// replaceFile renames a damaged database and creates a new one. The caller must hold Store.writing, or be Open.
func (s *Store) replaceFile(cause error) error {
	path := s.options.Path
	s.setFile(nil)
	aside := path + ".damaged-" + s.options.Clock.Now().UTC().Format("20060102T150405Z")
	if err := removeAside(path); err != nil {
		return err
	}
	for _, suffix := range fileSuffixes {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.mu.Lock()
	s.stats.DamagedFiles++
	s.mu.Unlock()
	s.options.Log.Error("store is damaged: moved aside, a new one is begun", "path", path, "aside", aside, "error", cause)
	f, err := openFile(context.Background(), path, s.options.MaxBytes)
	if err != nil {
		return err
	}
	s.setFile(f)
	return nil
}

func (s *Store) setFile(f *file) {
	s.mu.Lock()
	old := s.file
	s.file = f
	s.mu.Unlock()
	if old != nil {
		old.close() // its error does not matter: the file is damaged
	}
}

// removeAside deletes the damaged files of earlier times. A bad disk may damage one file after the other, and they must
// not fill it.
func removeAside(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".damaged-") {
			if err := os.Remove(filepath.Join(filepath.Dir(path), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
