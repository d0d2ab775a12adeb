package main

import (
	"os"
	"os/exec"
	"strings"
)

// The program of tests that the machine may carry, its arguments, one a line, and where it prints: a line
// of its own, where the kernel does not write.
const (
	testProgram   = "/flows.test"
	testArguments = "/flows.args"
	testLine      = "/dev/ttyS1"
)

// runTests runs the tests to their end. Modules are loaded by the kernel, which calls modprobe.
func runTests() error {
	arguments, err := os.ReadFile(testArguments)
	if err != nil {
		return err
	}
	line, err := os.OpenFile(testLine, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer line.Close()
	if err := loopbackUp(); err != nil {
		return err
	}
	tests := exec.Command(testProgram, strings.Fields(string(arguments))...)
	tests.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "SOCKTALLY_TEST_PRIVILEGED=1"}
	tests.Stdout, tests.Stderr = line, line
	return tests.Run()
}
