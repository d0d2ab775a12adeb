// Package filelock lets one process at a time have a file or a folder, by flock(2) on a file of its own beside it.
// The kernel frees the lock of a process that ends, however it ends.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// ErrHeld is a lock that is held already, by another process or by this one.
var ErrHeld = errors.New("lock is held")

// Try takes the lock that is the file at path, which it makes where there is none and which stays. It never waits:
// the error is ErrHeld where somebody has the lock.
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
