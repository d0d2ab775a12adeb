package cli

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/term"
)

// openTerminal makes a pseudo terminal. It returns the side of the user, and the path of the side of the program.
func openTerminal(t *testing.T, width, height uint16) (*os.File, string) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("skipped: the test needs pseudo terminals: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	var number uint32
	control(t, person, syscall.TIOCGPTN, unsafe.Pointer(&number))
	control(t, person, syscall.TIOCSPTLCK, unsafe.Pointer(new(int32)))
	resize(t, person, width, height)
	return person, fmt.Sprintf("/dev/pts/%d", number)
}

func resize(t *testing.T, terminal *os.File, width, height uint16) {
	t.Helper()
	control(t, terminal, syscall.TIOCSWINSZ, unsafe.Pointer(&[4]uint16{height, width}))
}

func control(t *testing.T, f *os.File, request uintptr, argument unsafe.Pointer) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(argument)); errno != 0 {
		t.Fatal(errno)
	}
}

// seen reads what was drawn, up to and including the text end.
func seen(t *testing.T, person *os.File, end string) string {
	t.Helper()
	var all strings.Builder
	for b := make([]byte, 4096); !strings.Contains(all.String(), end); {
		n, err := person.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, all.String())
		}
		all.Write(b[:n])
	}
	return all.String()
}

func TestScreen(t *testing.T) {
	t.Setenv("TERM", "xterm")
	person, path := openTerminal(t, 12, 3)
	program, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	before, err := term.GetState(int(program.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := openScreen(path)
	if err != nil {
		t.Fatal(err)
	}
	seen(t, person, enterScreen)

	// Long lines are cut, lines below the end of the screen are left out, and no name sends a command to the terminal.
	if err := s.draw(12, 3, "header\x1b[2J, long", []string{"A  B", "1234567890123", "below"}); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[Hheader?[2J, \x1b[K\r\n\x1b[7mA  B        \x1b[m\r\n123456789012\x1b[K\x1b[J"
	if got := seen(t, person, clearBelow); got != want {
		t.Errorf("drew\n%q\nwant\n%q", got, want)
	}

	resize(t, person, 40, 10)
	if width, height, err := s.size(); width != 40 || height != 10 || err != nil {
		t.Errorf("the size is %d x %d, %v", width, height, err)
	}
	resize(t, person, 0, 0)
	if width, height, err := s.size(); width != 80 || height != 24 || err != nil {
		t.Errorf("a size that nobody knows is %d x %d, %v", width, height, err)
	}

	// Keys are read one by one and are not echoed. An arrow key does not quit, q does.
	for _, key := range []string{"x", "\x1b[A", "\r"} {
		if _, err := person.WriteString(key); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.quit:
		t.Error("a key that means nothing ended it")
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := person.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	<-s.quit
	s.close()
	if got := seen(t, person, leaveScreen); got != leaveScreen {
		t.Errorf("left with %q", got)
	}
	after, err := term.GetState(int(program.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("the terminal is left as %+v, was %+v", after, before)
	}
}

func TestWantsEnd(t *testing.T) {
	for keys, want := range map[string]bool{"q": true, "Q": true, "\x1b": true, "\x03": true, "aq": true, "": false, "a": false, "\x1b[A": false, "\x1bOq": false, "\x1b[C": false} {
		if got := isQuitKey([]byte(keys)); got != want {
			t.Errorf("%q: %v, want %v", keys, got, want)
		}
	}
}

func TestNoScreen(t *testing.T) {
	for _, name := range []string{"", "dumb"} {
		t.Setenv("TERM", name)
		if _, err := openScreen("/dev/tty"); err == nil || !strings.Contains(err.Error(), "want --once or --json") {
			t.Errorf("TERM=%q: %v", name, err)
		}
	}
	t.Setenv("TERM", "xterm")
	if _, err := openScreen(os.DevNull); err == nil || !strings.Contains(err.Error(), "read keys one by one") {
		t.Errorf("got %v", err)
	}
	if _, err := openScreen("/nonexistent/tty"); err == nil || !strings.Contains(err.Error(), "open terminal: open /nonexistent/tty") {
		t.Errorf("got %v", err)
	}
}
