package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite" // also the driver of database/sql
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	applicationID = 0x736b746c // "sktl": marks the file as a store of socktally
	pageSize      = 4096
	maxReaders    = 2
)

// migrations change the schema of a file. The migration with index i brings a file from version i to version i+1. The
// version is in PRAGMA user_version.
var migrations = []string{`
CREATE TABLE chunk (
	id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: readers rely on it
	bucket  INTEGER NOT NULL, -- its start, Unix seconds
	kind    INTEGER NOT NULL, -- 1 flows, 2 DNS
	records INTEGER NOT NULL,
	payload BLOB    NOT NULL
) STRICT;
CREATE INDEX chunk_bucket ON chunk (bucket, kind);
`,
	// No change of the schema: since this version the file has chunks of layout 2. A program that knows only layout 1
	// must not open it.
	"",
}

// file is the database. Only one goroutine may write at a time. Several may read.
type file struct {
	path     string
	maxBytes int64
	writer   *sql.DB
	reader   *sql.DB
	payload  *sql.Stmt
	// lastID is the id of the newest committed chunk. The writer changes it under Store.mu.
	lastID int64
}

// openFile opens the database, creates the file and the schema if they are missing, and checks the structure.
func openFile(ctx context.Context, path string, maxBytes int64) (*file, error) {
	// The mode is set here: SQLite gives its other files the mode of this file.
	if err := create(path); err != nil {
		return nil, err
	}
	f := &file{path: path, maxBytes: maxBytes}
	var err error
	if f.writer, err = connect(path, 1, "_txlock=immediate"); err != nil {
		return nil, err
	}
	if err = f.prepare(ctx); err == nil {
		err = f.look(ctx)
	}
	if err == nil {
		f.reader, err = connect(path, maxReaders, "_pragma=query_only(1)")
	}
	if err == nil {
		f.payload, err = f.reader.PrepareContext(ctx, "SELECT payload FROM chunk WHERE id = ?")
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// create creates an empty file if there is none. It syncs the folder, so that the file still exists after a power cut.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Close(), dir.Sync(), dir.Close())
}

func connect(path string, connections int, options string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// FULL syncs each commit. With NORMAL, a power cut would lose all commits since the last checkpoint.
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(5000)"+
		"&_pragma=synchronous(FULL)&_pragma=cache_size(-512)&_pragma=temp_store(MEMORY)&"+options)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(1)
	return db, nil
}

// prepare brings the schema to this version. First it checks that the file is a store and not a newer one. Until then
// it changes nothing.
func (f *file) prepare(ctx context.Context) error {
	var id, version, tables int
	for query, into := range map[string]*int{
		"PRAGMA application_id":              &id,
		"PRAGMA user_version":                &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := f.writer.QueryRowContext(ctx, query).Scan(into); err != nil {
			return err
		}
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return errForeign
	}
	if version > len(migrations) {
		return fmt.Errorf("%w: it has version %d, this program knows up to %d: run the newer program again, or move the file away",
			ErrNewer, version, len(migrations))
	}
	if version == 0 {
		if err := f.exec(ctx, fmt.Sprintf("PRAGMA page_size = %d; PRAGMA auto_vacuum = INCREMENTAL", pageSize)); err != nil {
			return err
		}
	}
	var mode string
	if err := f.writer.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if version == len(migrations) {
		return nil
	}
	tx, err := f.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

// look reads the whole index, which is small, and the end of the table. It does not read the chunks, because there may
// be five days of them. Damage in them is found later: a reader skips a damaged chunk, and a write or a deletion that
// fails because of damage causes the file to be replaced.
func (f *file) look(ctx context.Context) error {
	err := f.writer.QueryRowContext(ctx, "SELECT 1 FROM sqlite_schema WHERE name = 'chunk_bucket' AND tbl_name = 'chunk'").Scan(new(int))
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: it has no table of chunks", errForeign)
	}
	if err == nil {
		err = f.writer.QueryRowContext(ctx, "SELECT count(kind) FROM chunk INDEXED BY chunk_bucket WHERE bucket IS NOT NULL").Scan(new(int))
	}
	if err == nil {
		err = f.writer.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM chunk").Scan(&f.lastID)
	}
	return err
}

func (f *file) exec(ctx context.Context, query string) error {
	_, err := f.writer.ExecContext(ctx, query)
	return err
}

func (f *file) close() error {
	var errs []error
	if f.payload != nil {
		errs = append(errs, f.payload.Close())
	}
	if f.reader != nil {
		errs = append(errs, f.reader.Close())
	}
	return errors.Join(append(errs, f.writer.Close())...) // the last to close removes the log
}

// bytes is the size of the database and its log.
func (f *file) bytes() int64 {
	var sum int64
	for _, suffix := range fileSuffixes {
		if info, err := os.Stat(f.path + suffix); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// fileSuffixes are of the files that are the database.
var fileSuffixes = [...]string{"", "-wal", "-shm"}

// errForeign is a database that is not a store.
var errForeign = errors.New("not a store")

// damaged says whether an error means that the file is not, or no longer, a store.
func damaged(err error) bool {
	code := sqliteCode(err)
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB || errors.Is(err, errForeign)
}

// full says whether an error means that the disk is.
func full(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_FULL || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE)
}

// sqliteCode is SQLite's primary result code, 0 if the error is not one of its.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
