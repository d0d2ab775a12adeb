package cli

import (
	"context"
	"io"
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
			return o.ask(stdout, stderr, func(ctx context.Context, api *datadogV2.CloudNetworkMonitoringApi, p datadogV2.GetAggregatedConnectionsOptionalParameters) (any, []column, [][]string, *http.Response, error) {
				answer, response, err := api.GetAggregatedConnections(ctx, p)
				columns, rows := connectionTable(answer, o.groupBy)
				return answer, columns, rows, response, err
			})
		},
	}
	o.flags(cmd, "client_service,network.client.ip,server_service,network.server.ip,server_port")
	return cmd
}

var connectionColumns = []struct {
	column
	text func(*datadogV2.SingleAggregatedConnectionResponseDataAttributes) string
}{
	{column{"SENT", false, 0}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return byteSize(uint64(a.GetBytesSentByClient()))
	}},
	{column{"RECEIVED", false, 0}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return byteSize(uint64(a.GetBytesSentByServer()))
	}},
	{column{"RTT", false, 3}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return roundTrip(uint64(a.GetRttMicroSeconds()))
	}},
	{column{"OPENED", false, 2}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return count(uint64(a.GetTcpEstablishedConnections()))
	}},
	{column{"CLOSED", false, 4}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return count(uint64(a.GetTcpClosedConnections()))
	}},
	{column{"RETRANS", false, 5}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return count(uint64(a.GetTcpRetransmits()))
	}},
	{column{"FAILED", false, 1}, func(a *datadogV2.SingleAggregatedConnectionResponseDataAttributes) string {
		return count(uint64(a.GetTcpRefusals() + a.GetTcpResets() + a.GetTcpTimeouts()))
	}},
}

// connectionTable has a column for each name that was grouped by, as it is written in --group-by.
func connectionTable(answer datadogV2.SingleAggregatedConnectionResponseArray, groupBy string) ([]column, [][]string) {
	var names []string
	for name := range strings.SplitSeq(groupBy, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	var rows [][]string
	for _, d := range answer.Data {
		a := d.Attributes
		if len(names) == 0 { // grouped as the API does by itself
			for name := range a.GetGroupBys() {
				names = append(names, name)
			}
			slices.Sort(names)
		}
		var row []string
		for _, name := range names {
			row = append(row, printable(strings.Join(a.GetGroupBys()[name], ", ")))
		}
		for _, c := range connectionColumns {
			row = append(row, c.text(a))
		}
		rows = append(rows, row)
	}
	columns := groupColumns(names)
	for _, c := range connectionColumns {
		columns = append(columns, c.column)
	}
	return columns, rows
}

func groupColumns(names []string) []column {
	var columns []column
	for _, name := range names {
		columns = append(columns, column{printable(name), true, 0})
	}
	return columns
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
			return o.ask(stdout, stderr, func(ctx context.Context, api *datadogV2.CloudNetworkMonitoringApi, p datadogV2.GetAggregatedConnectionsOptionalParameters) (any, []column, [][]string, *http.Response, error) {
				answer, response, err := api.GetAggregatedDns(ctx, datadogV2.GetAggregatedDnsOptionalParameters(p))
				columns, rows := dnsTable(answer)
				return answer, columns, rows, response, err
			})
		},
	}
	o.flags(cmd, "client_service,network.dns_query,network.dns_qtype")
	return cmd
}

var dnsColumns = []struct {
	column
	key  datadogV2.DnsMetricKey
	text func(uint64) string
}{
	{column{"QUERIES", false, 0}, datadogV2.DNSMETRICKEY_DNS_TOTAL_REQUESTS, count},
	{column{"FAILED", false, 0}, datadogV2.DNSMETRICKEY_DNS_FAILURES, count},
	{column{"NXDOMAIN", false, 3}, datadogV2.DNSMETRICKEY_DNS_RESPONSES_NXDOMAIN, count},
	{column{"SERVFAIL", false, 4}, datadogV2.DNSMETRICKEY_DNS_RESPONSES_SERVFAIL, count},
	{column{"OTHER", false, 5}, datadogV2.DNSMETRICKEY_DNS_RESPONSES_OTHER, count},
	{column{"TIMEOUT", false, 2}, datadogV2.DNSMETRICKEY_DNS_TIMEOUTS, count},
	{column{"OK", false, 1}, datadogV2.DNSMETRICKEY_DNS_SUCCESS_LATENCY_PERCENTILE, roundTrip},
	{column{"ERR", false, 6}, datadogV2.DNSMETRICKEY_DNS_FAILURE_LATENCY_PERCENTILE, roundTrip},
}

// dnsTable has a column for each name that the API says it has grouped by.
func dnsTable(answer datadogV2.SingleAggregatedDnsResponseArray) ([]column, [][]string) {
	var names []string
	if len(answer.Data) > 0 {
		for _, g := range answer.Data[0].Attributes.GetGroupBys() {
			if !slices.Contains(names, g.GetKey()) {
				names = append(names, g.GetKey())
			}
		}
	}
	var rows [][]string
	for _, d := range answer.Data {
		var row []string
		for _, name := range names {
			var values []string
			for _, g := range d.Attributes.GetGroupBys() {
				if g.GetKey() == name {
					values = append(values, g.GetValue())
				}
			}
			row = append(row, printable(strings.Join(values, ", ")))
		}
		for _, c := range dnsColumns {
			var n int64
			for _, m := range d.Attributes.GetMetrics() {
				if m.GetKey() == c.key {
					n = m.GetValue()
				}
			}
			row = append(row, c.text(uint64(n)))
		}
		rows = append(rows, row)
	}
	columns := groupColumns(names)
	for _, c := range dnsColumns {
		columns = append(columns, c.column)
	}
	return columns, rows
}
