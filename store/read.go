package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"socktally/record"
	"socktally/store/chunk"
	"time"
)

// Connections calls yield for each flow record of every bucket that overlaps [from, to). A bucket is five minutes long
// and begins at a multiple of five minutes. All its records are given, also those outside of the interval. The oldest
// bucket comes first. A flow has one or more records in each of its buckets. A record is valid until yield returns, but
// its strings may be kept. yield must not change it. Other calls do not wait while yield runs.
//
// A damaged chunk is skipped and counted in Stats. The error is that of yield or of ctx, or says that the store cannot
// be read. It is ErrNewer if the store has a chunk of a newer layout.
func (s *Store) Connections(ctx context.Context, from, to time.Time, yield func(*record.Flow) error) error {
	d := chunk.NewDecoder(s.schema)
	return s.read(ctx, kindFlows, from, to, func(payload []byte) error { return d.Flows(payload, yield) })
}

// DNS is Connections for DNS records.
func (s *Store) DNS(ctx context.Context, from, to time.Time, yield func(*record.DNS) error) error {
	d := chunk.NewDecoder(s.schema)
	return s.read(ctx, kindDNS, from, to, func(payload []byte) error { return d.DNS(payload, yield) })
}

// Ready returns nil if the store can be read, and otherwise the reason.
func (s *Store) Ready(ctx context.Context) error {
	s.mu.Lock()
	closed, f, err := s.closed, s.file, s.stats.Err
	s.mu.Unlock()
	switch {
	case closed:
		err = errClosed
	case f != nil:
		_, _, _, err = f.span(ctx, f.reader)
	}
	if err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	return nil
}

// read calls each with every payload that an interval selects. No transaction is open during the call, so that a slow
// reader does not stop a checkpoint.
func (s *Store) read(ctx context.Context, k kind, from, to time.Time, each func([]byte) error) error {
	if !from.Before(to) {
		return nil
	}
	first, end := bucketOf(from), bucketOf(to)
	if time.Unix(end, 0).Before(to) {
		end += bucketSeconds
	}
	inMemory, f, lastID, err := s.memory(k, first, end)
	if err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	var inFile []located
	if f != nil {
		if inFile, err = f.list(ctx, k, first, end, lastID); err != nil {
			s.suspectIf(err)
			return fmt.Errorf("read store: %w", err)
		}
	}
	for len(inFile)+len(inMemory) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var payload []byte
		if len(inFile) > 0 && (len(inMemory) == 0 || inFile[0].start <= inMemory[0].start) {
			payload, err = f.load(inFile[0].id)
			inFile = inFile[1:]
		} else {
			payload, err = inMemory[0].payload, nil
			inMemory = inMemory[1:]
		}
		if err == nil {
			err = each(payload)
		}
		switch {
		case errors.Is(err, sql.ErrNoRows): // deleted since it was listed
		case errors.Is(err, chunk.ErrDamaged) || damaged(err):
			s.skipped()
		case errors.Is(err, chunk.ErrNewer):
			return fmt.Errorf("read store: %w: %w", ErrNewer, err)
		case err != nil:
			return err
		}
	}
	return nil
}

// memory returns the chunks that are only in memory, oldest first. All other chunks are in f, with an id up to lastID.
func (s *Store) memory(k kind, first, end int64) (chunks []stored, f *file, lastID int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, 0, errClosed
	}
	waiting := s.waiting
	if s.open != nil {
		waiting = append(slices.Clip(waiting), s.open.encode())
	}
	for _, bucket := range waiting {
		for _, c := range bucket {
			if c.kind == k && c.start >= first && c.start < end {
				chunks = append(chunks, c)
			}
		}
	}
	slices.SortStableFunc(chunks, func(a, b stored) int { return cmp.Compare(a.start, b.start) })
	if s.file != nil {
		f, lastID = s.file, s.file.lastID
	}
	return chunks, f, lastID, nil
}

func (s *Store) suspectIf(err error) {
	if damaged(err) {
		s.mu.Lock()
		s.suspect = err
		s.mu.Unlock()
	}
}

func (s *Store) skipped() {
	s.mu.Lock()
	s.stats.DamagedChunks++
	first := s.stats.DamagedChunks == 1
	s.mu.Unlock()
	if first {
		s.options.Log.Error("store has damaged records: skipped", "path", s.options.Path)
	}
}

// located is a chunk in the file.
type located struct{ start, id int64 }

func (f *file) list(ctx context.Context, k kind, first, end, lastID int64) ([]located, error) {
	rows, err := f.reader.QueryContext(ctx,
		"SELECT bucket, id FROM chunk WHERE bucket >= ? AND bucket < ? AND kind = ? AND id <= ? ORDER BY bucket, id", first, end, k, lastID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []located
	for rows.Next() {
		var l located
		if err := rows.Scan(&l.start, &l.id); err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, rows.Err()
}

// load takes no context: for a context, each query would start a goroutine that waits for its end.
func (f *file) load(id int64) (payload []byte, err error) {
	err = f.payload.QueryRow(id).Scan(&payload)
	return payload, err
}
