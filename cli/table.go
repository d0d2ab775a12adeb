package cli

import (
	"fmt"
	"strings"
)

// column is one column of a table of T.
type column[T any] struct {
	title string
	text  func(T) string
	// flexible columns are aligned to the left, and get smaller if there is not enough room. Of the other columns,
	// those with the highest rank are removed first.
	flexible bool
	rank     int
}

// minFlexible is the least width of a flexible column as long as another column can be removed.
const minFlexible = 21 // an IPv4 address and a port

// table formats rows of T as lines.
type table[T any] []column[T]

// lines returns the titles and one line for each row. Lines are at most width characters long if that is possible. 0 is
// no limit.
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

// fit removes columns and then makes flexible columns smaller, until all fit. A removed column has width 0.
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

// minWidth is the total width if all flexible columns have their least width.
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
