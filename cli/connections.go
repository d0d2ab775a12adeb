package cli

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"
	"github.com/spf13/cobra"
)

func newConnections(stdout, stderr io.Writer, version string) *cobra.Command {
	o := queryOptions{version: version}
	cmd := &cobra.Command{
		Use:   "connections",
		Short: "Ask a running daemon who talked to whom",
		Long: "Ask the API of a running daemon (socktally run --listen ...) who talked to whom, the most bytes first.\n" +
			"docs/api.md has the names to group and filter by. It asks by Datadog's own client.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			var answer datadogV2.SingleAggregatedConnectionResponseArray
			err := o.ask(func(ctx context.Context, api *datadogV2.CloudNetworkMonitoringApi, p datadogV2.GetAggregatedConnectionsOptionalParameters) (response *http.Response, err error) {
				answer, response, err = api.GetAggregatedConnections(ctx, p)
				return response, err
			})
			if err != nil {
				return err
			}
			return writeAnswer(&o, stdout, stderr, answer, answer.Data, connectionTable(answer.Data, o.groupBy))
		},
	}
	o.flags(cmd, "client_service,network.client.ip,server_service,network.server.ip,server_port")
	return cmd
}

// connectionRow is a row of the answer of one kind, dnsRow of the other.
type (
	connectionRow = datadogV2.SingleAggregatedConnectionResponseData
	dnsRow        = datadogV2.SingleAggregatedDnsResponseData
)

// connectionTable has a column for each name that was grouped by, as it is written in --group-by.
func connectionTable(rows []connectionRow, groupBy string) table[connectionRow] {
	var names []string
	for name := range strings.SplitSeq(groupBy, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(rows) > 0 { // grouped as the API does by itself
		names = slices.Sorted(maps.Keys(rows[0].Attributes.GetGroupBys()))
	}
	var t table[connectionRow]
	for _, name := range names {
		t = append(t, column[connectionRow]{printable(name), func(r connectionRow) string {
			return printable(strings.Join(r.Attributes.GetGroupBys()[name], ", "))
		}, true, 0})
	}
	return append(t, table[connectionRow]{
		{"SENT", func(r connectionRow) string { return byteSize(uint64(r.Attributes.GetBytesSentByClient())) }, false, 0},
		{"RECEIVED", func(r connectionRow) string { return byteSize(uint64(r.Attributes.GetBytesSentByServer())) }, false, 0},
		{"RTT", func(r connectionRow) string { return roundTrip(uint64(r.Attributes.GetRttMicroSeconds())) }, false, 3},
		{"OPENED", func(r connectionRow) string { return count(uint64(r.Attributes.GetTcpEstablishedConnections())) }, false, 2},
		{"CLOSED", func(r connectionRow) string { return count(uint64(r.Attributes.GetTcpClosedConnections())) }, false, 4},
		{"RETRANS", func(r connectionRow) string { return count(uint64(r.Attributes.GetTcpRetransmits())) }, false, 5},
		{"FAILED", func(r connectionRow) string {
			return count(uint64(r.Attributes.GetTcpRefusals() + r.Attributes.GetTcpResets() + r.Attributes.GetTcpTimeouts()))
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
			"docs/api.md has the names to group and filter by. It asks by Datadog's own client.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			var answer datadogV2.SingleAggregatedDnsResponseArray
			err := o.ask(func(ctx context.Context, api *datadogV2.CloudNetworkMonitoringApi, p datadogV2.GetAggregatedConnectionsOptionalParameters) (response *http.Response, err error) {
				answer, response, err = api.GetAggregatedDns(ctx, datadogV2.GetAggregatedDnsOptionalParameters(p))
				return response, err
			})
			if err != nil {
				return err
			}
			return writeAnswer(&o, stdout, stderr, answer, answer.Data, queryTable(answer.Data))
		},
	}
	o.flags(cmd, "client_service,network.dns_query,network.dns_qtype")
	return cmd
}

// queryTable has a column for each name that the API says it has grouped by.
func queryTable(rows []dnsRow) table[dnsRow] {
	var names []string
	if len(rows) > 0 {
		for _, g := range rows[0].Attributes.GetGroupBys() {
			if !slices.Contains(names, g.GetKey()) {
				names = append(names, g.GetKey())
			}
		}
	}
	var t table[dnsRow]
	for _, name := range names {
		t = append(t, column[dnsRow]{printable(name), func(r dnsRow) string {
			var values []string
			for _, g := range r.Attributes.GetGroupBys() {
				if g.GetKey() == name {
					values = append(values, g.GetValue())
				}
			}
			return printable(strings.Join(values, ", "))
		}, true, 0})
	}
	metric := func(title string, key datadogV2.DnsMetricKey, text func(uint64) string, rank int) column[dnsRow] {
		return column[dnsRow]{title, func(r dnsRow) string {
			for _, m := range r.Attributes.GetMetrics() {
				if m.GetKey() == key {
					return text(uint64(m.GetValue()))
				}
			}
			return text(0)
		}, false, rank}
	}
	return append(t,
		metric("QUERIES", datadogV2.DNSMETRICKEY_DNS_TOTAL_REQUESTS, count, 0),
		metric("FAILED", datadogV2.DNSMETRICKEY_DNS_FAILURES, count, 0),
		metric("NXDOMAIN", datadogV2.DNSMETRICKEY_DNS_RESPONSES_NXDOMAIN, count, 3),
		metric("SERVFAIL", datadogV2.DNSMETRICKEY_DNS_RESPONSES_SERVFAIL, count, 4),
		metric("OTHER", datadogV2.DNSMETRICKEY_DNS_RESPONSES_OTHER, count, 5),
		metric("TIMEOUT", datadogV2.DNSMETRICKEY_DNS_TIMEOUTS, count, 2),
		metric("OK", datadogV2.DNSMETRICKEY_DNS_SUCCESS_LATENCY_PERCENTILE, roundTrip, 1),
		metric("ERR", datadogV2.DNSMETRICKEY_DNS_FAILURE_LATENCY_PERCENTILE, roundTrip, 6),
	)
}
