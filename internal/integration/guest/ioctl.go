package main

import (
	"os"
	"syscall"
	"unsafe"
)

func ioctl[T any](fd int, request uintptr, argument *T) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(argument)))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
