package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// vacuumPages is how many pages one vacuum gives back to the file system at most.
const vacuumPages = 256

// errTooLarge says that one bucket is larger than MaxBytes allows for the whole file.
var errTooLarge = errors.New("bucket is larger than the store may be")

// loss counts what was dropped.
type loss struct{ buckets, records uint64 }

func (l *loss) add(o loss) {
	l.buckets += o.buckets
	l.records += o.records
}

// write commits the chunks of one bucket in one transaction and returns the id of the last chunk. If there is no room,
// it deletes the oldest buckets first.
func (f *file) write(ctx context.Context, chunks []stored) (id int64, lost loss, err error) {
	if lost, err = f.makeRoom(ctx, chunks); err != nil {
		return 0, lost, err
	}
	tx, err := f.writer.BeginTx(ctx, nil)
	if err != nil {
		return 0, lost, err
	}
	defer tx.Rollback()
	for _, c := range chunks {
		result, err := tx.ExecContext(ctx, "INSERT INTO chunk (bucket, kind, records, payload) VALUES (?, ?, ?, ?)",
			c.start, c.kind, c.records, c.payload)
		if err != nil {
			return 0, lost, err
		}
		if id, err = result.LastInsertId(); err != nil {
			return 0, lost, err
		}
	}
	return id, lost, tx.Commit()
}

// makeRoom deletes the oldest buckets until the file and the log of the coming write are together within the limit.
func (f *file) makeRoom(ctx context.Context, chunks []stored) (lost loss, err error) {
	if f.maxBytes <= 0 {
		return loss{}, nil
	}
	// An estimate: a chunk needs its overflow pages, a page for its row, and a part of pages of the index and of the
	// pointer map.
	need := int64(16)
	for _, c := range chunks {
		need += int64(len(c.payload))/(pageSize-16) + 3
	}
	for {
		pages, free, err := f.pages(ctx)
		if err != nil {
			return lost, err
		}
		const walFrame, walIndex = pageSize + 24, 32 << 10
		if (pages+max(0, need-free))*pageSize+need*walFrame+walIndex <= f.maxBytes {
			return lost, nil
		}
		if free > need {
			if err := f.vacuum(ctx, min(free-need, vacuumPages)); err != nil {
				return lost, err
			}
			if after, _, err := f.pages(ctx); err != nil || after < pages {
				continue
			}
		}
		l, err := f.deleteOldest(ctx)
		lost.add(l)
		if err != nil {
			return lost, err
		}
	}
}

func (f *file) pages(ctx context.Context) (pages, free int64, err error) {
	if err = f.writer.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err == nil {
		err = f.writer.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free)
	}
	return pages, free, err
}

// span returns the starts of the oldest and the newest bucket. some is false if there is no bucket.
func (f *file) span(ctx context.Context, db *sql.DB) (oldest, newest int64, some bool, err error) {
	var from, to sql.NullInt64
	// min and max in one SELECT would read the whole index.
	err = db.QueryRowContext(ctx, "SELECT (SELECT min(bucket) FROM chunk), (SELECT max(bucket) FROM chunk)").Scan(&from, &to)
	return from.Int64, to.Int64, from.Valid, err
}

func (f *file) deleteOldest(ctx context.Context) (loss, error) {
	oldest, _, some, err := f.span(ctx, f.writer)
	if err != nil {
		return loss{}, err
	}
	if !some {
		return loss{}, errTooLarge
	}
	return f.deleteBucket(ctx, oldest)
}

// prune deletes at most two buckets that begin before from or after to. If a quarter of the file is free, it gives some
// pages back to the file system. It does only a little at a time, so that no other write waits long.
func (f *file) prune(ctx context.Context, from, to int64) error {
	for range 2 {
		oldest, newest, some, err := f.span(ctx, f.writer)
		if err != nil || !some {
			return err
		}
		switch {
		case oldest < from:
			_, err = f.deleteBucket(ctx, oldest)
		case newest > to:
			_, err = f.deleteBucket(ctx, newest)
		}
		if err != nil {
			return err
		}
	}
	pages, free, err := f.pages(ctx)
	if err != nil || free < vacuumPages || free < pages/4 {
		return err
	}
	return f.vacuum(ctx, vacuumPages)
}

func (f *file) deleteBucket(ctx context.Context, start int64) (loss, error) {
	l := loss{buckets: 1}
	rows, err := f.writer.QueryContext(ctx, "DELETE FROM chunk WHERE bucket = ? RETURNING records", start)
	if err != nil {
		return loss{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var n uint64
		if err := rows.Scan(&n); err != nil {
			return loss{}, err
		}
		l.records += n
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return loss{}, err
	}
	return l, f.checkpoint(ctx)
}

// vacuum shortens the file by most pages at most.
func (f *file) vacuum(ctx context.Context, most int64) error {
	rows, err := f.writer.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", most))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // each step is a page
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	return f.checkpoint(ctx)
}

// checkpoint copies the write-ahead log into the database and empties the log. If a reader prevents that, or the disk is
// full, the log stays until the next checkpoint. No record is lost by that, because the log is part of the database.
func (f *file) checkpoint(ctx context.Context) error {
	var busy, log, moved int
	return f.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved)
}
