// Package filelock has locks for a file or a folder that only one process may use at a time. It uses flock(2) on a separate
// lock file. The kernel frees the lock when the process ends, however it ends.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// ErrHeld is the error if another process, or this one, has the lock already.
var ErrHeld = errors.New("lock is held")

// Try takes the lock with the lock file at path. It makes the file if it does not exist; the file is never removed. It does
// not wait: the error is ErrHeld if somebody has the lock.
func Try(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrHeld
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() { _ = f.Close() }, nil
}
