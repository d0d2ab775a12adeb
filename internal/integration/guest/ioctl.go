package main

import (
	"os"
	"syscall"
	"unsafe"
)

// finitModule is finit_module(2) without parameters.
func finitModule(f *os.File) error {
	const sysFinitModule = 313 // amd64
	parameters := []byte{0}
	_, _, errno := syscall.Syscall(sysFinitModule, f.Fd(), uintptr(unsafe.Pointer(&parameters[0])), 0)
	if errno != 0 {
		return os.NewSyscallError("finit_module", errno)
	}
	return nil
}

func ioctl[T any](fd int, request uintptr, argument *T) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(argument)))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
