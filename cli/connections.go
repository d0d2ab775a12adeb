package cli

import (
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"socktally/api/answer"
)

func newConnections(stdout, stderr io.Writer, version string) *cobra.Command {
	o := queryOptions{version: version}
	cmd := &cobra.Command{
		Use:   "connections",
		Short: "Ask a running daemon who talked to whom",
		Long: "Ask the API of a running daemon (socktally run --listen ...) who talked to whom, the most bytes first.\n" +
			"docs/api.md has the names to group and filter by.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			var found answer.Connections
			body, err := o.ask(answer.ConnectionsPath, &found)
			if err != nil {
				return err
			}
			return writeAnswer(&o, stdout, stderr, body, found.Data, connectionTable(found.Data, o.groupBy))
		},
	}
	o.flags(cmd, "client_service,network.client.ip,server_service,network.server.ip,server_port")
	return cmd
}

// connectionTable has a column for each name in --group-by.
func connectionTable(rows []answer.Connection, groupBy string) table[answer.Connection] {
	var names []string
	for name := range strings.SplitSeq(groupBy, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(rows) > 0 { // grouped by the default of the API
		names = slices.Sorted(maps.Keys(rows[0].Attributes.GroupBys))
	}
	var t table[answer.Connection]
	for _, name := range names {
		t = append(t, column[answer.Connection]{printable(name), func(r answer.Connection) string {
			return printable(strings.Join(r.Attributes.GroupBys[name], ", "))
		}, true, 0})
	}
	return append(t, table[answer.Connection]{
		{"SENT", func(r answer.Connection) string { return byteSize(uint64(r.Attributes.BytesSentByClient)) }, false, 0},
		{"RECEIVED", func(r answer.Connection) string { return byteSize(uint64(r.Attributes.BytesSentByServer)) }, false, 0},
		{"RTT", func(r answer.Connection) string { return roundTrip(uint64(r.Attributes.RTTMicroSeconds)) }, false, 3},
		{"OPENED", func(r answer.Connection) string { return count(uint64(r.Attributes.TCPEstablishedConnections)) }, false, 2},
		{"CLOSED", func(r answer.Connection) string { return count(uint64(r.Attributes.TCPClosedConnections)) }, false, 4},
		{"RETRANS", func(r answer.Connection) string { return count(uint64(r.Attributes.TCPRetransmits)) }, false, 5},
		{"FAILED", func(r answer.Connection) string {
			return count(uint64(r.Attributes.TCPRefusals + r.Attributes.TCPResets + r.Attributes.TCPTimeouts))
		}, false, 1},
	}...)
}

func newDNS(stdout, stderr io.Writer, version string) *cobra.Command {
	o := queryOptions{version: version}
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Ask a running daemon what was asked of DNS, and how that went",
		Long: "Ask the API of a running daemon (socktally run --listen ...) what was asked of DNS, the most queries\n" +
			"first. OK and ERR are the time to the answer, successful or not, that 95 percent took at most.\n" +
			"docs/api.md has the names to group and filter by.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			var found answer.DNS
			body, err := o.ask(answer.DNSPath, &found)
			if err != nil {
				return err
			}
			return writeAnswer(&o, stdout, stderr, body, found.Data, queryTable(found.Data))
		},
	}
	o.flags(cmd, "client_service,network.dns_query,network.dns_qtype")
	return cmd
}

// queryTable has a column for each name that the answer is grouped by.
func queryTable(rows []answer.DNSRow) table[answer.DNSRow] {
	var names []string
	if len(rows) > 0 {
		for _, g := range rows[0].Attributes.GroupBys {
			if !slices.Contains(names, g.Key) {
				names = append(names, g.Key)
			}
		}
	}
	var t table[answer.DNSRow]
	for _, name := range names {
		t = append(t, column[answer.DNSRow]{printable(name), func(r answer.DNSRow) string {
			var values []string
			for _, g := range r.Attributes.GroupBys {
				if g.Key == name {
					values = append(values, g.Value)
				}
			}
			return printable(strings.Join(values, ", "))
		}, true, 0})
	}
	metric := func(title, key string, text func(uint64) string, rank int) column[answer.DNSRow] {
		return column[answer.DNSRow]{title, func(r answer.DNSRow) string {
			for _, m := range r.Attributes.Metrics {
				if m.Key == key {
					return text(uint64(m.Value))
				}
			}
			return text(0)
		}, false, rank}
	}
	return append(t,
		metric("QUERIES", answer.DNSTotalRequests, count, 0),
		metric("FAILED", answer.DNSFailures, count, 0),
		metric("NXDOMAIN", answer.DNSNXDomain, count, 3),
		metric("SERVFAIL", answer.DNSServFail, count, 4),
		metric("OTHER", answer.DNSOtherFailures, count, 5),
		metric("TIMEOUT", answer.DNSTimeouts, count, 2),
		metric("OK", answer.DNSSuccessLatency, roundTrip, 1),
		metric("ERR", answer.DNSFailureLatency, roundTrip, 6),
	)
}
