package cli

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"socktally/flows"
)

// flowColumn is one column of the table of flows.
type flowColumn struct {
	title string
	text  func(flows.Record) string
	// flexible columns are on the left and give way where the width does not suffice; of the
	// others, those with the highest rank leave first.
	flexible bool
	rank     int
}

var flowColumns = []flowColumn{
	{"CLIENT", func(r flows.Record) string { return end(r, r.Client) }, true, 0},
	{"SERVER", func(r flows.Record) string { return end(r, r.Server) }, true, 0},
	{"DIRECTION", func(r flows.Record) string { return string(r.Direction) }, false, 6},
	{"SENT", func(r flows.Record) string { return byteSize(r.BytesSentByClient) }, false, 0},
	{"RECEIVED", func(r flows.Record) string { return byteSize(r.BytesSentByServer) }, false, 0},
	{"RTT", func(r flows.Record) string { return roundTrip(r.RTTMicroSeconds()) }, false, 3},
	{"OPENED", func(r flows.Record) string { return count(r.Established) }, false, 2},
	{"CLOSED", func(r flows.Record) string { return count(r.Closed) }, false, 4},
	{"RETRANS", func(r flows.Record) string { return count(r.Retransmits) }, false, 5},
	{"FAILED", func(r flows.Record) string {
		return count(r.Refusals + r.Resets + r.Timeouts + r.Unreachables)
	}, false, 1},
}

// leastFlexible is what a flexible column keeps before another column leaves.
const leastFlexible = 21 // an IPv4 address and port

// flowTable lays records out as lines, the first with titles. Lines fit into width columns if that
// is possible; 0 is any width. Sent and received are as the client sees it.
func flowTable(records []flows.Record, width int) []string {
	rows := make([][]string, 0, len(records)+1)
	var titles []string
	for _, c := range flowColumns {
		titles = append(titles, c.title)
	}
	rows = append(rows, titles)
	for _, r := range records {
		var row []string
		for _, c := range flowColumns {
			row = append(row, c.text(r))
		}
		rows = append(rows, row)
	}
	widths := fit(naturalWidths(rows), width)
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		lines = append(lines, layOut(row, widths))
	}
	return lines
}

func naturalWidths(rows [][]string) []int {
	widths := make([]int, len(flowColumns))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], len(text))
		}
	}
	return widths
}

// fit takes columns away, then width from flexible ones, until all fit. A column of width 0 is gone.
func fit(widths []int, width int) []int {
	if width <= 0 {
		return widths
	}
	for rank := len(flowColumns); rank > 0 && leastWidth(widths) > width; rank-- {
		for i, c := range flowColumns {
			if c.rank == rank {
				widths[i] = 0
			}
		}
	}
	for excess := totalWidth(widths) - width; excess > 0; excess-- {
		widest := 0
		for i, c := range flowColumns {
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
func leastWidth(widths []int) int {
	total := totalWidth(widths)
	for i, c := range flowColumns {
		if c.flexible {
			total -= max(0, widths[i]-leastFlexible)
		}
	}
	return total
}

func layOut(row []string, widths []int) string {
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
		if flowColumns[i].flexible {
			fmt.Fprintf(&line, "%-*s", widths[i], text)
		} else {
			fmt.Fprintf(&line, "%*s", widths[i], text)
		}
	}
	return strings.TrimRight(line.String(), " ")
}

// end names one end of a flow: its address, its port if it is the server, and who owns it.
func end(r flows.Record, e flows.Endpoint) string {
	if r.Overflow() {
		return "(all others)"
	}
	text := e.Addr.String()
	if e.Port != 0 {
		text = net.JoinHostPort(text, strconv.Itoa(int(e.Port)))
	}
	owner := e.Owner.Service
	if owner == "" {
		owner = e.Owner.Process
	}
	if owner != "" {
		text += " " + printable(owner)
	}
	return text
}

// printable replaces what a terminal could take for a command, as anybody may name a process.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

func byteSize(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len("KMGTPE")-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f%ci", value, "KMGTPE"[unit])
}

func count(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func roundTrip(us uint64) string {
	if us == 0 {
		return "-"
	}
	d := time.Duration(us) * time.Microsecond
	switch {
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	}
	return strings.Replace(d.String(), "µ", "u", 1)
}
