package cli

import (
	"fmt"
	"net"
	"socktally/record"
	"strconv"
	"strings"
	"time"
)

// flowTable shows flows. Sent and received are from the client's point of view.
var flowTable = table[record.Flow]{
	{"CLIENT", func(r record.Flow) string { return endpoint(r.Client) }, true, 0},
	{"SERVER", func(r record.Flow) string { return serverEndpoint(r) }, true, 0},
	{"PROTO", func(r record.Flow) string { return r.Protocol }, false, 7},
	{"DIRECTION", func(r record.Flow) string { return string(r.Direction) }, false, 6},
	{"SENT", func(r record.Flow) string { return byteSize(r.BytesSentByClient) }, false, 0},
	{"RECEIVED", func(r record.Flow) string { return byteSize(r.BytesSentByServer) }, false, 0},
	{"RTT", func(r record.Flow) string { return roundTrip(r.RTTMicroSeconds()) }, false, 3},
	{"OPENED", func(r record.Flow) string { return count(r.Established) }, false, 2},
	{"CLOSED", func(r record.Flow) string { return count(r.Closed) }, false, 4},
	{"RETRANS", func(r record.Flow) string { return count(r.Retransmits) }, false, 5},
	{"FAILED", func(r record.Flow) string {
		return count(r.Refusals + r.Resets + r.Timeouts + r.Unreachables)
	}, false, 1},
}

// serverEndpoint is the text for the server, with its domain if that is known.
func serverEndpoint(r record.Flow) string {
	text := endpoint(r.Server)
	if r.ServerDomain != "" {
		text += " (" + printable(r.ServerDomain) + ")"
	}
	return text
}

// endpoint is the text for one end of a flow: its address, its port if it is the server, and its owner. If it has no
// address, the record is an overflow record.
func endpoint(e record.Endpoint) string {
	if !e.Addr.IsValid() {
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

// printable replaces characters that a terminal could take for a command. Names of processes may have such characters.
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
