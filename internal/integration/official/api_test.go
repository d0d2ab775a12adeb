package official

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"socktally/api"
	"socktally/dns"
	"socktally/flows"
)

const key = "0123456789abcdef"

// records is a Source of records that are in every window.
type records struct {
	connections []flows.Record
	dns         []flows.DNSRecord
	err         error
}

func (s records) Connections(_ context.Context, _, _ time.Time, yield func(*flows.Record) error) error {
	for _, r := range s.connections {
		if err := yield(&r); err != nil {
			return err
		}
	}
	return s.err
}

func (s records) DNS(_ context.Context, _, _ time.Time, yield func(*flows.DNSRecord) error) error {
	for _, r := range s.dns {
		if err := yield(&r); err != nil {
			return err
		}
	}
	return s.err
}

// serve serves the API over records and returns its base URL.
func serve(t *testing.T, s records) string {
	t.Helper()
	server := httptest.NewServer(api.New(api.Options{
		Source: s, Hostname: "web-1", Keys: []string{key}, Log: slog.New(slog.DiscardHandler),
		Ready: func(context.Context) error { return s.err },
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// monitoring returns Datadog's own client of an API, and the context for its calls.
func monitoring(t *testing.T, base, key string) (*datadogV2.CloudNetworkMonitoringApi, context.Context) {
	t.Helper()
	client, ctx := newClient(t, base, key)
	return datadogV2.NewCloudNetworkMonitoringApi(client), ctx
}

func newClient(t *testing.T, base, key string) (*datadog.APIClient, context.Context) {
	cfg := datadog.NewConfiguration()
	cfg.Servers = datadog.ServerConfigurations{{URL: base}}
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(cfg.HTTPClient.CloseIdleConnections)
	return datadog.NewAPIClient(cfg), context.WithValue(t.Context(), datadog.ContextAPIKeys, map[string]datadog.APIKey{
		"apiKeyAuth": {Key: key}, "appKeyAuth": {Key: "an application key"},
	})
}

func connection(service string, counters flows.Counters) flows.Record {
	return flows.Record{
		Protocol: "tcp", Family: "ipv4", Direction: flows.Outgoing,
		Client: flows.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: flows.Owner{
			PID: 71, Process: "curl", Service: service, Env: "prod", Tags: []string{"team:a", "team:b"},
		}},
		Server:   flows.Endpoint{Addr: netip.MustParseAddr("192.0.2.10"), Port: 443},
		Counters: counters,
	}
}

func query(name string, counts dns.Counts) flows.DNSRecord {
	return flows.DNSRecord{
		Protocol: "udp", Name: name, Type: "A",
		Client: flows.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: flows.Owner{PID: 71, Service: "checkout", Tags: []string{"team:a", "team:b"}}},
		Server: flows.Endpoint{Addr: netip.MustParseAddr("192.0.2.53"), Port: 53},
		Counts: counts,
	}
}

// everything has records with every optional field, and without any.
func everything() records {
	rtos := uint64(4)
	failing := dns.Counts{Requests: 9, Successes: 2, NXDomain: 1, ServFail: 1, OtherFailures: 1, Timeouts: 4}
	failing.SuccessLatency.Add(50 * time.Microsecond)
	failing.FailureLatency.Add(75 * time.Microsecond)
	return records{
		connections: []flows.Record{
			connection("all", flows.Counters{
				BytesSentByClient: 1, BytesSentByServer: 2, PacketsSentByClient: 3, PacketsSentByServer: 4, RTTSum: 10, RTTSamples: 2,
				Retransmits: 6, Established: 7, Closed: 8, Refusals: 9, Timeouts: 10, Resets: 11, DeliveredCE: 12, ReordSeen: 13, RcvOOOPack: 14,
				RTOCount: &rtos, RecoveryCount: new(uint64),
			}),
			connection("few", flows.Counters{BytesSentByClient: 1 << 63}),
			connection("<&\u2028\x00\xff", flows.Counters{}),
			{Protocol: "udp", Direction: flows.Incoming},
		},
		dns: []flows.DNSRecord{query("a.invalid", failing), query("b.invalid", dns.Counts{Requests: 7}), {Protocol: "udp"}},
	}
}

func TestClientReadsConnections(t *testing.T) {
	client, ctx := monitoring(t, serve(t, everything()), key)
	now := time.Now().Unix()
	// Every parameter at once.
	answer, _, err := client.GetAggregatedConnections(ctx, *datadogV2.NewGetAggregatedConnectionsOptionalParameters().
		WithFrom(now - 3600).WithTo(now).WithGroupBy("client_service,server_port").WithTags("client_env:prod").
		WithQuery("client_service:(all OR none)").WithLimit(3))
	if err != nil || len(answer.Data) != 1 {
		t.Fatalf("%d rows, %v", len(answer.Data), err)
	}
	understood(t, answer)
	row := answer.Data[0]
	a := row.Attributes
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

	// No parameters, as in the examples of Datadog's page.
	if answer, _, err = client.GetAggregatedConnections(ctx); err != nil || len(answer.Data) != 4 {
		t.Errorf("%d rows, %v", len(answer.Data), err)
	}
}

func TestClientReadsDNS(t *testing.T) {
	client, ctx := monitoring(t, serve(t, everything()), key)
	now := time.Now().Unix()
	answer, _, err := client.GetAggregatedDns(ctx, *datadogV2.NewGetAggregatedDnsOptionalParameters().
		WithFrom(now - 3600).WithTo(now).WithGroupBy("client_service").WithTags("network.dns_query:a*").
		WithQuery("NOT network.dns_qtype:AAAA").WithLimit(7500))
	if err != nil || len(answer.Data) != 1 || answer.Data[0].GetId() != "client_service:checkout,network.dns_query:a.invalid" || !answer.Data[0].GetType().IsValid() {
		t.Fatalf("got %+v, %v", answer.Data, err)
	}
	understood(t, answer)
	got := map[datadogV2.DnsMetricKey]int64{}
	for _, metric := range answer.Data[0].Attributes.Metrics {
		if !metric.GetKey().IsValid() {
			t.Errorf("the client does not know the metric %s", metric.GetKey())
		}
		got[metric.GetKey()] = metric.GetValue()
	}
	if want := map[datadogV2.DnsMetricKey]int64{
		datadogV2.DNSMETRICKEY_DNS_TOTAL_REQUESTS: 9, datadogV2.DNSMETRICKEY_DNS_FAILURES: 7, datadogV2.DNSMETRICKEY_DNS_SUCCESSFUL_RESPONSES: 2,
		datadogV2.DNSMETRICKEY_DNS_FAILED_RESPONSES: 3, datadogV2.DNSMETRICKEY_DNS_TIMEOUTS: 4, datadogV2.DNSMETRICKEY_DNS_RESPONSES_NXDOMAIN: 1,
		datadogV2.DNSMETRICKEY_DNS_RESPONSES_SERVFAIL: 1, datadogV2.DNSMETRICKEY_DNS_RESPONSES_OTHER: 1,
		datadogV2.DNSMETRICKEY_DNS_SUCCESS_LATENCY_PERCENTILE: 50, datadogV2.DNSMETRICKEY_DNS_FAILURE_LATENCY_PERCENTILE: 75,
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if answer, _, err = client.GetAggregatedDns(ctx); err != nil || len(answer.Data) != 3 {
		t.Errorf("%d rows, %v", len(answer.Data), err)
	}
}

// TestModelsHoldAnswers has every form of an answer in the client's models and out again: what comes out is
// what the API said, so that no part was lost, and none was left aside.
func TestModelsHoldAnswers(t *testing.T) {
	for name, source := range map[string]records{"empty": {}, "everything": everything()} {
		base := serve(t, source)
		for _, groupBy := range []string{"", "client_team,server_port,network.client.ip", "server_service,client_service"} {
			connections := datadogV2.NewSingleAggregatedConnectionResponseArray()
			holds(t, name, get(t, base, api.ConnectionsPath+"?group_by="+groupBy, http.StatusOK), connections)
			queries := datadogV2.NewSingleAggregatedDnsResponseArray()
			holds(t, name, get(t, base, api.DNSPath+"?group_by="+groupBy, http.StatusOK), queries)
			if empty := len(source.dns) == 0; (len(connections.Data) == 0) != empty || (len(queries.Data) == 0) != empty {
				t.Errorf("%s: %d connections and %d queries", name, len(connections.Data), len(queries.Data))
			}
		}
		holds(t, name, get(t, base, api.DNSPath+"?group_by=server_ungrouped", http.StatusOK), datadogV2.NewSingleAggregatedDnsResponseArray())
	}
}

// holds decodes an answer into a model, and the model again.
func holds(t *testing.T, name string, body []byte, model any) {
	t.Helper()
	if err := json.Unmarshal(body, model); err != nil {
		t.Errorf("%s: %v: %s", name, err, body)
		return
	}
	understood(t, model)
	again, err := json.Marshal(model)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := parse(t, again), parse(t, body); !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the model holds\n%s\nof\n%s", name, again, body)
	}
}

// parse keeps numbers as they are written.
func parse(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// get asks for a path and returns the body of the answer.
func get(t *testing.T, base, path string, status int) []byte {
	t.Helper()
	return do(t, http.MethodGet, base, path, key, status)
}

func do(t *testing.T, method, base, path, key string, status int) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("DD-API-KEY", key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Errorf("%s %s: %s, %v, want %d", method, path, response.Status, err, status)
	}
	return body
}

// manyGroups has more groups than one question may.
func manyGroups() records {
	s := records{connections: make([]flows.Record, 50_001)}
	for i := range s.connections {
		s.connections[i].Server.Addr = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	return s
}

// TestModelHoldsErrors has each status that is no success.
func TestModelHoldsErrors(t *testing.T) {
	good, many, broken := serve(t, everything()), serve(t, manyGroups()), serve(t, records{err: errors.New("disk on fire")})
	for _, c := range []struct {
		method, base, path, key string
		status                  int
	}{
		{"GET", good, api.ConnectionsPath + "?limit=7501&from=x&no=such", key, 400},
		{"GET", good, api.DNSPath + "?query=((", key, 400},
		{"GET", good, api.ConnectionsPath, "another key", 403},
		{"GET", good, api.DNSPath, "", 403},
		{"GET", good, "/api/v2/elsewhere", key, 404},
		{"POST", good, api.ConnectionsPath, key, 405},
		{"GET", many, api.ConnectionsPath + "?group_by=network.server.ip", key, 429},
		{"GET", broken, api.DNSPath, key, 500},
		{"GET", broken, "/readyz", "", 503},
	} {
		var model datadogV2.APIErrorResponse
		body := do(t, c.method, c.base, c.path, c.key, c.status)
		holds(t, c.path, body, &model)
		if len(model.Errors) == 0 || model.Errors[0] == "" {
			t.Errorf("%s %s: the client has no model of %s", c.method, c.path, body)
		}
	}
}

// TestClientUnderstandsErrors has each status that the client itself has a model for.
func TestClientUnderstandsErrors(t *testing.T) {
	base := serve(t, everything())
	client, ctx := monitoring(t, base, key)
	badClient, badCtx := monitoring(t, base, "another key")
	manyClient, manyCtx := monitoring(t, serve(t, manyGroups()), key)
	for status, call := range map[int]func() error{
		400: func() error {
			_, _, err := client.GetAggregatedConnections(ctx, *datadogV2.NewGetAggregatedConnectionsOptionalParameters().WithLimit(7501))
			return err
		},
		403: func() error { _, _, err := badClient.GetAggregatedDns(badCtx); return err },
		429: func() error {
			_, _, err := manyClient.GetAggregatedConnections(manyCtx, *datadogV2.NewGetAggregatedConnectionsOptionalParameters().WithGroupBy("network.server.ip"))
			return err
		},
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
