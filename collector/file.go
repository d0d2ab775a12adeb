package collector

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// contents returns the text of a file of the kernel, which the next call overwrites. It opens the file without the
// os package, which would hand it to the poller at a third of the whole cost.
//
// The kernel prints some settings into the first read alone, cut off where that is too small. So a text that fills
// the buffer is read again from the start, into a larger one.
func (r *reading) contents(path string) ([]byte, error) {
	fd, err := ignoringEINTR(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	size := 0
	for {
		n, err := ignoringEINTR(func() (int, error) { return syscall.Read(fd, r.buffer[size:]) })
		switch size += max(n, 0); {
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return r.buffer[:size], nil
		case size == len(r.buffer):
			if _, err := syscall.Seek(fd, 0, io.SeekStart); err != nil {
				return nil, &os.PathError{Op: "seek", Path: path, Err: err}
			}
			r.buffer, size = make([]byte, 4*len(r.buffer)), 0
		}
	}
}

// ignoringEINTR makes a system call until no signal interrupts it.
func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
