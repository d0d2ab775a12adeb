package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"socktally/internal/clock"
	"socktally/internal/filelock"
	"socktally/record"
	"socktally/store/chunk"
)

// Why a store cannot be opened, where a caller may go on without its file.
var (
	// ErrNewer is a store, or a chunk in it, that a newer version of this program wrote. It is left as it is.
	ErrNewer = errors.New("store is of a newer version")
	// ErrLocked is a store that another process uses.
	ErrLocked = errors.New("store is in use by another process")
	// ErrNotWritable is a store that cannot be written: no permission, a read-only file system, a
	// broken disk.
	ErrNotWritable = errors.New("store cannot be written")
)

var errClosed = errors.New("store is closed")

const (
	// Without a file a store keeps no more than this. So much also waits in memory while the file
	// cannot be written.
	memoryRetention = time.Hour
	memoryBytes     = 8 << 20
)

// Options say where a store is and what bounds it.
type Options struct {
	// Path is the file; its folder is made if need be. Without one, the store is in memory, and keeps
	// at most an hour and 8 MiB.
	Path string
	// Retention is how long records are kept; 0 is for ever.
	Retention time.Duration
	// MaxBytes bounds the file with its log and that one's index. Beyond it the oldest buckets go first,
	// and are counted. 0 is no bound.
	MaxBytes int64
	Log      *slog.Logger // nil logs nothing
	Clock    clock.Clock  // the machine's if nil
}

// Store keeps records. It is safe for concurrent use.
type Store struct {
	options Options
	unlock  func()
	schema  *chunk.Schema // of what is written and read

	writing sync.Mutex // held by Add and Close, from beginning to end

	mu       sync.Mutex // of all that follows; never held while the disk works
	closed   bool
	file     *file // nil in memory
	open     *bucket
	previous int64 // start of the bucket before the open one, or notYet
	// waiting are the buckets that are not in the file.
	waiting [][]stored
	// suspect is why a reader thinks that the whole file is damaged.
	suspect error
	stats   Stats
}

const notYet = int64(-1 << 63)

// Open opens the store, and makes it if it is not there. A file that is damaged is moved aside as
// PATH.damaged-TIME, which is logged; an earlier one is deleted. Errors are ErrNewer, ErrLocked or
// ErrNotWritable; after any of them the file is as it was. A full disk is none: records wait in memory
// until there is room, and what the file has cannot be read until then.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Clock = clock.OrSystem(o.Clock)
	s := &Store{options: o, previous: notYet, unlock: func() {}, schema: chunk.NewSchema(record.Fields(), record.DNSFields())}
	if o.Path == "" {
		s.options.MaxBytes = memoryBytes
		if o.MaxBytes > 0 {
			s.options.MaxBytes = min(o.MaxBytes, memoryBytes)
		}
		if o.Retention <= 0 || o.Retention > memoryRetention {
			s.options.Retention = memoryRetention
		}
		return s, nil
	}
	if err := s.openPath(); err != nil {
		s.unlock()
		if !errors.Is(err, ErrNewer) && !errors.Is(err, ErrLocked) {
			err = fmt.Errorf("%w: %w", ErrNotWritable, err)
		}
		return nil, fmt.Errorf("open store %s: %w", o.Path, err)
	}
	return s, nil
}

func (s *Store) openPath() (err error) {
	if err := os.MkdirAll(filepath.Dir(s.options.Path), 0o750); err != nil {
		return err
	}
	unlock, err := filelock.Try(s.options.Path + ".lock")
	if errors.Is(err, filelock.ErrHeld) {
		return ErrLocked
	}
	if err != nil {
		return err
	}
	s.unlock = unlock
	s.file, err = openFile(context.Background(), s.options.Path, s.options.MaxBytes)
	if damaged(err) {
		err = s.replaceFile(err)
	}
	if full(err) { // it is opened once there is room
		s.report(err)
		return nil
	}
	return err
}

// Add adds records to the bucket of the time at, and writes the bucket before if that is another one.
// Times may go back. Add keeps nothing that the caller may change, and fails only if the store is
// closed: what the file does not take waits in memory, which is logged and in Stats.
func (s *Store) Add(at time.Time, connections []record.Flow, dns []record.DNS) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.gather(bucketOf(at), connections, dns); err != nil {
		return fmt.Errorf("add to store: %w", err)
	}
	s.settle()
	return nil
}

func (s *Store) gather(start int64, connections []record.Flow, dns []record.DNS) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.open == nil || s.open.start != start {
		s.finish()
		s.open = newBucket(start, s.schema)
	}
	before := s.open.folded
	s.open.add(connections, dns)
	s.stats.FoldedRecords += s.open.folded - before
	return nil
}

// finish ends the open bucket: it waits to be written.
func (s *Store) finish() {
	if s.open == nil {
		return
	}
	if chunks := s.open.encode(); len(chunks) > 0 {
		s.waiting = append(s.waiting, chunks)
	}
	s.previous, s.open = s.open.start, nil
}

// Close writes the bucket that is not finished and closes the file. It fails if records are lost.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.finish()
	s.mu.Unlock()
	var err error
	if s.options.Path != "" {
		err = s.flush(context.Background())
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.file != nil {
		err = errors.Join(err, s.file.close())
	}
	s.unlock()
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.options.Path, err)
	}
	return nil
}
