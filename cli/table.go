package cli

import (
	"fmt"
	"slices"
	"strings"
)

// column is one column of a table.
type column struct {
	title string
	// flexible columns are on the left and give way where the width does not suffice; of the
	// others, those with the highest rank leave first.
	flexible bool
	rank     int
}

// leastFlexible is what a flexible column keeps before another column leaves.
const leastFlexible = 21 // an IPv4 address and port

// layTable lays rows of ASCII out as lines, the first with titles. Lines fit into width columns if that
// is possible; 0 is any width.
func layTable(columns []column, rows [][]string, width int) []string {
	var titles []string
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	rows = slices.Insert(rows, 0, titles)
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], len(text))
		}
	}
	fit(columns, widths, width)
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		lines = append(lines, layOut(columns, widths, row))
	}
	return lines
}

// fit takes columns away, then width from flexible ones, until all fit. A column of width 0 is gone.
func fit(columns []column, widths []int, width int) {
	if width <= 0 {
		return
	}
	for rank := len(columns); rank > 0 && leastWidth(columns, widths) > width; rank-- {
		for i, c := range columns {
			if c.rank == rank {
				widths[i] = 0
			}
		}
	}
	for excess := totalWidth(widths) - width; excess > 0; excess-- {
		widest := 0
		for i, c := range columns {
			if c.flexible && widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= 1 {
			break
		}
		widths[widest]--
	}
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
func leastWidth(columns []column, widths []int) int {
	total := totalWidth(widths)
	for i, c := range columns {
		if c.flexible {
			total -= max(0, widths[i]-leastFlexible)
		}
	}
	return total
}

func layOut(columns []column, widths []int, row []string) string {
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
		if columns[i].flexible {
			fmt.Fprintf(&line, "%-*s", widths[i], text)
		} else {
			fmt.Fprintf(&line, "%*s", widths[i], text)
		}
	}
	return strings.TrimRight(line.String(), " ")
}
