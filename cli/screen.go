package cli

import (
	"context"
	"fmt"
	"socktally/flows/coverage"
	"time"

	"github.com/gdamore/tcell/v2"
)

// showLive draws the rows of each interval until q is pressed or ctx ends.
func showLive[T any](ctx context.Context, v view[T], interval time.Duration) error {
	screen, err := tcell.NewScreen()
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	defer screen.Fini()
	events, quit := make(chan tcell.Event, 16), make(chan struct{})
	defer close(quit)
	go screen.ChannelEvents(events, quit)

	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var rows []T
	for {
		draw(screen, header(v, rows, interval), v, rows)
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-events:
			if !open || wantsEnd(event) {
				return nil
			}
			if _, resized := event.(*tcell.EventResize); resized {
				screen.Sync()
			}
		case <-ticks.C:
			if rows, err = v.tally(ctx); err != nil {
				return err
			}
		}
	}
}

func wantsEnd(event tcell.Event) bool {
	key, ok := event.(*tcell.EventKey)
	return ok && (key.Rune() == 'q' || key.Rune() == 'Q' || key.Key() == tcell.KeyEscape || key.Key() == tcell.KeyCtrlC)
}

func header[T any](v view[T], rows []T, interval time.Duration) string {
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

// draw fills the screen with a header, the titles and as many rows as there is room for.
func draw[T any](screen tcell.Screen, header string, v view[T], rows []T) {
	width, height := screen.Size()
	screen.Clear()
	lines := append([]string{header}, v.table.lines(rows, width)...)
	for y, line := range lines[:min(len(lines), height)] {
		style := tcell.StyleDefault
		if y == 1 {
			style = style.Reverse(true)
			line = fmt.Sprintf("%-*s", width, line)
		}
		for x, r := range line { // one byte a rune: see printable
			if x < width {
				screen.SetContent(x, y, r, nil, style)
			}
		}
	}
	screen.Show()
}
