package collector

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// contents returns the text of a file of the kernel. The next call overwrites it. It does not use the os package, which
// would register the file with the poller: that takes a third of the whole time.
//
// For some settings, only the first read returns text, and it is cut off if the buffer is too small. So if a text fills
// the buffer, it is read again from the start, into a larger buffer.
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

// ignoringEINTR repeats a system call for as long as a signal interrupts it.
func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
