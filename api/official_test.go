package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"socktally/flows"
)

// official returns Datadog's own client of a server, and the context for its calls.
func official(t *testing.T, s *Server, key string) (*datadogV2.CloudNetworkMonitoringApi, context.Context) {
	t.Helper()
	l, err := Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	cfg := datadog.NewConfiguration()
	cfg.Servers = datadog.ServerConfigurations{{URL: "http://" + l.Addr().String()}}
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(cfg.HTTPClient.CloseIdleConnections)
	ctx := context.WithValue(context.Background(), datadog.ContextAPIKeys, map[string]datadog.APIKey{
		"apiKeyAuth": {Key: key}, "appKeyAuth": {Key: "an application key"},
	})
	return datadogV2.NewCloudNetworkMonitoringApi(datadog.NewAPIClient(cfg)), ctx
}

// wanted makes sure that the client understood all of an answer.
func wanted(t *testing.T, unparsed map[string]any, additional map[string]any, err error) {
	t.Helper()
	if err != nil || unparsed != nil || len(additional) > 0 {
		t.Errorf("not what the client knows: %v %v %v", err, unparsed, additional)
	}
}

func TestOfficialClient(t *testing.T) {
	const key = "0123456789abcdef"
	rtos := uint64(4)
	m := &memory{
		connections: append(mixed(), record(5, func(r *flows.Record) {
			r.Client.Owner.Service = "all"
			r.Counters = flows.Counters{
				BytesSentByClient: 1, BytesSentByServer: 2, PacketsSentByClient: 3, PacketsSentByServer: 4, RTTSum: 10, RTTSamples: 2,
				Retransmits: 6, Established: 7, Closed: 8, Refusals: 9, Timeouts: 10, Resets: 11, DeliveredCE: 12, ReordSeen: 13, RcvOOOPack: 14,
				RTOCount: &rtos, RecoveryCount: new(uint64),
			}
		})),
		dns: []flows.DNSRecord{query("a.invalid", 7, nil), query("b.invalid", 2, nil)},
	}
	s := newServer(t, m, func(o *Options) { o.Keys = []string{key} })
	client, ctx := official(t, s, key)

	// Every parameter at once.
	answer, _, err := client.GetAggregatedConnections(ctx, *datadogV2.NewGetAggregatedConnectionsOptionalParameters().
		WithFrom(start.Unix() - 3600).WithTo(start.Unix()).WithGroupBy("client_service,server_port").WithTags("client_env:prod").
		WithQuery("client_service:(all OR none)").WithLimit(3))
	wanted(t, answer.UnparsedObject, answer.AdditionalProperties, err)
	if len(answer.Data) != 1 {
		t.Fatalf("%d rows", len(answer.Data))
	}
	row := answer.Data[0]
	wanted(t, row.UnparsedObject, row.AdditionalProperties, nil)
	a := row.Attributes
	wanted(t, a.UnparsedObject, a.AdditionalProperties, nil)
	if row.GetId() != "client_service:all, server_port:443" || !row.GetType().IsValid() || strings.Join(a.GetGroupBys()["client_service"], "") != "all" {
		t.Errorf("got %+v", row)
	}
	got := []int64{
		a.GetBytesSentByClient(), a.GetBytesSentByServer(), a.GetPacketsSentByClient(), a.GetPacketsSentByServer(), a.GetRttMicroSeconds(),
		a.GetTcpRetransmits(), a.GetTcpEstablishedConnections(), a.GetTcpClosedConnections(), a.GetTcpRefusals(), a.GetTcpTimeouts(),
		a.GetTcpResets(), a.GetTcpDeliveredCe(), a.GetTcpReordSeen(), a.GetTcpRcvOooPack(), a.GetTcpRtoCount(), a.GetTcpRecoveryCount(),
	}
	for i, want := range []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 4, 0} {
		if got[i] != want {
			t.Errorf("counter %d is %d, want %d", i, got[i], want)
		}
	}
	if !a.HasTcpRecoveryCount() || a.HasTcpProbe0Count() {
		t.Error("a counter that the kernel has is missing, or one that it has not is there")
	}

	queries, _, err := client.GetAggregatedDns(ctx, *datadogV2.NewGetAggregatedDnsOptionalParameters().
		WithFrom(start.Unix() - 3600).WithTo(start.Unix()).WithGroupBy("client_service").WithTags("network.dns_query:a*").
		WithQuery("NOT network.dns_qtype:AAAA").WithLimit(7500))
	wanted(t, queries.UnparsedObject, queries.AdditionalProperties, err)
	if len(queries.Data) != 1 || queries.Data[0].GetId() != "client_service:checkout,network.dns_query:a.invalid" || !queries.Data[0].GetType().IsValid() {
		t.Fatalf("got %+v", queries.Data)
	}
	for _, metric := range queries.Data[0].Attributes.Metrics {
		wanted(t, metric.UnparsedObject, metric.AdditionalProperties, nil)
		if !metric.GetKey().IsValid() {
			t.Errorf("the client does not know the metric %s", metric.GetKey())
		}
	}

	// No parameters, as in the examples of Datadog's page.
	if answer, _, err = client.GetAggregatedConnections(ctx); err != nil || len(answer.Data) != 5 {
		t.Errorf("%d rows, %v", len(answer.Data), err)
	}
	if queries, _, err = client.GetAggregatedDns(ctx); err != nil || len(queries.Data) != 2 {
		t.Errorf("%d rows, %v", len(queries.Data), err)
	}
}

// TestOfficialClientUnderstandsErrors has each status that its model of errors is for.
func TestOfficialClientUnderstandsErrors(t *testing.T) {
	const key = "0123456789abcdef"
	m := &memory{connections: mixed()}
	s := newServer(t, m, func(o *Options) { o.Keys = []string{key} })
	s.groups = 1
	client, ctx := official(t, s, key)
	badClient, badCtx := official(t, newServer(t, m, func(o *Options) { o.Keys = []string{key} }), "another key")
	for status, call := range map[int]func() error{
		400: func() error {
			_, _, err := client.GetAggregatedConnections(ctx, *datadogV2.NewGetAggregatedConnectionsOptionalParameters().WithLimit(7501))
			return err
		},
		403: func() error { _, _, err := badClient.GetAggregatedConnections(badCtx); return err },
		429: func() error { _, _, err := client.GetAggregatedConnections(ctx); return err },
	} {
		var refused datadog.GenericOpenAPIError
		if err := call(); !errors.As(err, &refused) || !strings.Contains(refused.ErrorMessage, http.StatusText(status)) {
			t.Errorf("%d: got %v", status, err)
			continue
		}
		if model, ok := refused.ErrorModel.(datadogV2.APIErrorResponse); !ok || len(model.Errors) != 1 || model.Errors[0] == "" {
			t.Errorf("%d: the client has no model of %s", status, refused.ErrorBody)
		}
	}
}
