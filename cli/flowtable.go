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
	column
	text func(flows.Record) string
}

var flowColumns = []flowColumn{
	{column{"CLIENT", true, 0}, func(r flows.Record) string { return end(r, r.Client) }},
	{column{"SERVER", true, 0}, func(r flows.Record) string { return end(r, r.Server) }},
	{column{"DIRECTION", false, 6}, func(r flows.Record) string { return string(r.Direction) }},
	{column{"SENT", false, 0}, func(r flows.Record) string { return byteSize(r.BytesSentByClient) }},
	{column{"RECEIVED", false, 0}, func(r flows.Record) string { return byteSize(r.BytesSentByServer) }},
	{column{"RTT", false, 3}, func(r flows.Record) string { return roundTrip(r.RTTMicroSeconds()) }},
	{column{"OPENED", false, 2}, func(r flows.Record) string { return count(r.Established) }},
	{column{"CLOSED", false, 4}, func(r flows.Record) string { return count(r.Closed) }},
	{column{"RETRANS", false, 5}, func(r flows.Record) string { return count(r.Retransmits) }},
	{column{"FAILED", false, 1}, func(r flows.Record) string {
		return count(r.Refusals + r.Resets + r.Timeouts + r.Unreachables)
	}},
}

// flowTable lays records out as lines, the first with titles. Sent and received are as the client sees
// it.
func flowTable(records []flows.Record, width int) []string {
	var columns []column
	for _, c := range flowColumns {
		columns = append(columns, c.column)
	}
	rows := make([][]string, 0, len(records))
	for _, r := range records {
		var row []string
		for _, c := range flowColumns {
			row = append(row, c.text(r))
		}
		rows = append(rows, row)
	}
	return layTable(columns, rows, width)
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
