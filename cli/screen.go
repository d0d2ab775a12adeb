package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"socktally/flows/coverage"
)

// showLive draws the rows of each interval until q is pressed or ctx ends.
func showLive[T any](ctx context.Context, v listing[T], interval time.Duration) error {
	s, err := openScreen("/dev/tty")
	if err != nil {
		return err
	}
	defer s.close()
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var rows []T
	for {
		width, height, err := s.size()
		if err != nil {
			return err
		}
		if err := s.draw(width, height, header(v, rows, interval), v.table.lines(rows, width)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.quit:
			return nil
		case <-s.resized:
		case <-ticks.C:
			if rows, err = v.tally(ctx); err != nil {
				return err
			}
		}
	}
}

func header[T any](v listing[T], rows []T, interval time.Duration) string {
	text := fmt.Sprintf("socktally: %d %s in the last %v, counted by %s; q ends", len(rows), v.noun, interval, v.counter.Source())
	for _, c := range v.counter.Coverage() {
		if c.Lost != "" {
			text += "; " + c.String()
		}
	}
	if losses, err := v.counter.Losses(); err == nil && losses != (coverage.Losses{}) {
		text += fmt.Sprintf("; losses %+v", losses)
	}
	return text
}

// Control sequences of ECMA-48, and xterm's for the alternate screen. All common terminals have both. A terminal without
// an alternate screen shows the table on the normal one.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // alternate screen, no cursor, no wrapping of long lines
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	reverse     = "\x1b[7m"
	plain       = "\x1b[m"
	clearLine   = "\x1b[K" // from the cursor to the end of the line
	clearBelow  = "\x1b[J"
)

// screen is a terminal that is drawn on as a whole.
type screen struct {
	tty     *os.File
	before  *term.State
	quit    chan struct{} // closed when q is pressed, or when no key can be read any more
	resized chan os.Signal
}

// openScreen opens the terminal at path and switches it to the alternate screen, until close.
func openScreen(path string) (*screen, error) {
	if name := os.Getenv("TERM"); name == "" || name == "dumb" {
		return nil, fmt.Errorf("open terminal: TERM=%q cannot be drawn on: want --once or --json", name)
	}
	tty, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	before, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		_ = tty.Close()
		return nil, fmt.Errorf("open terminal: read keys one by one: %w", err)
	}
	s := &screen{tty: tty, before: before, quit: make(chan struct{}), resized: make(chan os.Signal, 1)}
	signal.Notify(s.resized, syscall.SIGWINCH)
	go s.readKeys()
	_, err = tty.WriteString(enterScreen)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	return s, nil
}

// close restores the terminal.
func (s *screen) close() {
	signal.Stop(s.resized)
	_, _ = s.tty.WriteString(leaveScreen)
	_ = term.Restore(int(s.tty.Fd()), s.before)
	_ = s.tty.Close()
}

// readKeys waits for a key that quits.
func (s *screen) readKeys() {
	defer close(s.quit)
	keys := make([]byte, 64)
	for {
		n, err := s.tty.Read(keys)
		if err != nil || isQuitKey(keys[:n]) {
			return
		}
	}
}

// isQuitKey looks for q, Escape and Ctrl-C. Some other keys send Escape and more bytes after it.
func isQuitKey(keys []byte) bool {
	const escape, ctrlC = 0x1b, 0x03
	if len(keys) > 0 && keys[0] == escape {
		return len(keys) == 1
	}
	return bytes.ContainsAny(keys, "qQ"+string(rune(ctrlC)))
}

func (s *screen) size() (width, height int, err error) {
	width, height, err = term.GetSize(int(s.tty.Fd()))
	if err != nil {
		return 0, 0, fmt.Errorf("size of the terminal: %w", err)
	}
	if width <= 0 || height <= 0 {
		return 80, 24, nil // the size of a serial line is not known
	}
	return width, height, nil
}

// draw shows a header and as many lines as there is room for. The first line has the titles.
func (s *screen) draw(width, height int, header string, lines []string) error {
	var frame strings.Builder
	frame.WriteString(home)
	all := append([]string{header}, lines...)
	for y, line := range all[:min(len(all), height)] {
		if y > 0 {
			frame.WriteString("\r\n")
		}
		line = printable(line)
		line = line[:min(len(line), width)]
		if y == 1 {
			line = fmt.Sprintf("%s%-*s%s", reverse, width, line, plain)
		}
		frame.WriteString(line)
		if y != 1 {
			frame.WriteString(clearLine)
		}
	}
	frame.WriteString(clearBelow)
	if _, err := s.tty.WriteString(frame.String()); err != nil {
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}
