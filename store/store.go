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

// Reasons why a store cannot be opened. After any of them the caller may go on with a store in memory.
var (
	// ErrNewer says that a newer version of this program wrote the store, or a chunk in it. The file is not changed.
	ErrNewer = errors.New("store is of a newer version")
	// ErrLocked says that another process uses the store.
	ErrLocked = errors.New("store is in use by another process")
	// ErrNotWritable says that the store cannot be written: no permission, a read-only file system, or a broken disk.
	ErrNotWritable = errors.New("store cannot be written")
)

var errClosed = errors.New("store is closed")

const (
	// A store without a file keeps at most this. While a file cannot be written, at most memoryBytes wait in memory.
	memoryRetention = time.Hour
	memoryBytes     = 8 << 20
)

// Options say where a store is and what bounds it.
type Options struct {
	// Path is the file. Its folder is created if it is missing. If Path is "", the store is in memory and keeps at most
	// an hour and 8 MiB.
	Path string
	// Retention is how long records are kept. 0 means for ever.
	Retention time.Duration
	// MaxBytes is the highest size of the file, its write-ahead log and the index of the log together. If there is no
	// room for a new bucket, the oldest buckets are deleted and counted in Stats. 0 means no limit.
	MaxBytes int64
	Log      *slog.Logger // nil logs nothing
	Clock    clock.Clock  // the machine's if nil
}

// Store keeps records. It is safe for concurrent use.
type Store struct {
	options Options
	unlock  func()
	schema  *chunk.Schema

	writing sync.Mutex // held by Add and Close, from beginning to end

	mu       sync.Mutex // for all members below; never held during disk access
	closed   bool
	file     *file // nil in memory
	open     *bucket
	previous int64 // start of the bucket before the open one, or notYet
	// waiting are the finished buckets that are not in the file.
	waiting [][]stored
	// suspect is the error of a reader that found the whole file damaged.
	suspect error
	stats   Stats
}

const notYet = int64(-1 << 63)

// Open opens the store, and creates it if there is none. A damaged file is renamed to PATH.damaged-TIME, which is
// logged. An earlier file of such a name is deleted. The error is ErrNewer, ErrLocked or ErrNotWritable. After an error
// the file is unchanged. A full disk is not an error: records wait in memory until there is room. Until then the
// records in the file cannot be read.
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
	if full(err) { // update opens it when there is room
		s.report(err)
		return nil
	}
	return err
}

// Add adds records to the bucket of the time at. If that is another bucket than in the last call, Add finishes the last
// one and writes it. The time may go back. Add copies what it keeps, so the caller may change the records afterwards.
// It fails only if the store is closed. Buckets that cannot be written wait in memory, which is logged and in Stats.
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

// finish ends the open bucket and appends it to the waiting ones.
func (s *Store) finish() {
	if s.open == nil {
		return
	}
	if chunks := s.open.encode(); len(chunks) > 0 {
		s.waiting = append(s.waiting, chunks)
	}
	s.previous, s.open = s.open.start, nil
}

// Close writes the open bucket and closes the file. It fails if records are lost.
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
