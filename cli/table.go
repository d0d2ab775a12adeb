package cli

import (
	"fmt"
	"strings"
)

// column is one column of a table of T.
type column[T any] struct {
	title string
	text  func(T) string
	// flexible columns are on the left and give way where the width does not suffice; of the
	// others, those with the highest rank leave first.
	flexible bool
	rank     int
}

// leastFlexible is what a flexible column keeps before another column leaves.
const minFlexible = 21 // an IPv4 address and port

// table lays rows of T out as lines.
type table[T any] []column[T]

// lines returns the titles and a line for each row. Lines fit into width columns if that is
// possible; 0 is any width.
func (t table[T]) lines(rows []T, width int) []string {
	cells := make([][]string, 0, len(rows)+1)
	var titles []string
	for _, c := range t {
		titles = append(titles, c.title)
	}
	cells = append(cells, titles)
	for _, r := range rows {
		var row []string
		for _, c := range t {
			row = append(row, c.text(r))
		}
		cells = append(cells, row)
	}
	widths := t.fit(naturalWidths(cells), width)
	lines := make([]string, 0, len(cells))
	for _, row := range cells {
		lines = append(lines, t.layOut(row, widths))
	}
	return lines
}

func naturalWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], len(text))
		}
	}
	return widths
}

// fit takes columns away, then width from flexible ones, until all fit. A column of width 0 is gone.
func (t table[T]) fit(widths []int, width int) []int {
	if width <= 0 {
		return widths
	}
	for rank := len(t); rank > 0 && t.minWidth(widths) > width; rank-- {
		for i, c := range t {
			if c.rank == rank {
				widths[i] = 0
			}
		}
	}
	for excess := totalWidth(widths) - width; excess > 0; excess-- {
		widest := 0
		for i, c := range t {
			if c.flexible && widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= 1 {
			break
		}
		widths[widest]--
	}
	return widths
}

func totalWidth(widths []int) int {
	total := -2 // no gap before the first
	for _, w := range widths {
		if w > 0 {
			total += w + 2
		}
	}
	return total
}

// leastWidth is the width with all flexible columns at their least.
func (t table[T]) minWidth(widths []int) int {
	total := totalWidth(widths)
	for i, c := range t {
		if c.flexible {
			total -= max(0, widths[i]-minFlexible)
		}
	}
	return total
}

func (t table[T]) layOut(row []string, widths []int) string {
	var line strings.Builder
	for i, text := range row {
		if widths[i] == 0 {
			continue
		}
		if line.Len() > 0 {
			line.WriteString("  ")
		}
		if len(text) > widths[i] {
			text = text[:widths[i]]
		}
		if t[i].flexible {
			fmt.Fprintf(&line, "%-*s", widths[i], text)
		} else {
			fmt.Fprintf(&line, "%*s", widths[i], text)
		}
	}
	return strings.TrimRight(line.String(), " ")
}
