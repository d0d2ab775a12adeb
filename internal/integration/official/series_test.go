package official

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"socktally/forward/series"
	"socktally/metric"
)

// intake is a server that takes every payload, and keeps the requests.
type intake struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
}

type request struct {
	method, path string
	header       http.Header
	body         []byte // without its compression
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	in := &intake{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(z)
		if err != nil {
			t.Error(err)
			return
		}
		in.mu.Lock()
		in.requests = append(in.requests, request{r.Method, r.URL.Path, r.Header, body})
		in.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"errors":[]}`)
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *intake) received() []request {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]request(nil), in.requests...)
}

// samples are one of every metric, and every odd value of one.
func samples(now time.Time) []metric.Sample {
	var all []metric.Sample
	for i, d := range metric.Catalogue() {
		m := metric.Sample{Name: d.Name, Kind: d.Kind, Time: now.Add(time.Duration(i) * time.Millisecond), Value: float64(i) * 1.25}
		if d.Kind == metric.Count {
			m.Interval = time.Duration(i) * 700 * time.Millisecond
		}
		if i%3 == 0 {
			m.Tags = []string{"service:db", "remote:<a&b>", "name:\u00e9\u2028"}
		}
		all = append(all, m)
	}
	for _, value := range []float64{0, -1, 1e21, 1e-9, 1<<53 + 1, 0.1} {
		all = append(all, metric.Sample{Name: "socktally.unheard_of", Time: now, Value: value})
	}
	return all
}

// model makes of a sample what the client itself would send of it.
func model(m metric.Sample, own []string) datadogV2.MetricSeries {
	one := datadogV2.NewMetricSeries(m.Name, []datadogV2.MetricPoint{{
		Timestamp: datadog.PtrInt64(m.Time.Unix()), Value: datadog.PtrFloat64(m.Value),
	}})
	one.SetType(datadogV2.METRICINTAKETYPE_GAUGE)
	if m.Kind == metric.Count {
		one.SetType(datadogV2.METRICINTAKETYPE_COUNT)
		one.SetInterval(max(1, m.Interval.Round(time.Second).Milliseconds()/1000))
	}
	if d, _ := metric.Lookup(m.Name); d.Unit != metric.None {
		one.SetUnit(d.Unit)
	}
	if tags := metric.AllTags(own, m); len(tags) > 0 {
		one.SetTags(tags)
	}
	one.SetResources([]datadogV2.MetricResource{{Type: datadog.PtrString("host"), Name: datadog.PtrString("node1")}})
	return *one
}

// TestPayload sends samples by the sink and by the client, and compares what came.
func TestPayload(t *testing.T) {
	for _, own := range [][]string{nil, {"env:prod", "service:edge"}} {
		in := newIntake(t)
		all := samples(time.Now())
		sink := series.New(series.Options{URL: in.URL, APIKey: key, Host: "node1", Tags: own, UserAgent: "socktally/test"})
		if lost := sink.Send(t.Context(), all); lost != nil {
			t.Fatalf("lost %v", lost)
		}
		_ = sink.Close()
		payload := datadogV2.MetricPayload{}
		for _, m := range all {
			payload.Series = append(payload.Series, model(m, own))
		}
		client, ctx := newClient(t, in.URL, key)
		gzip := datadogV2.NewSubmitMetricsOptionalParameters().WithContentEncoding(datadogV2.METRICCONTENTENCODING_GZIP)
		if _, _, err := datadogV2.NewMetricsApi(client).SubmitMetrics(ctx, payload, *gzip); err != nil {
			t.Fatal(err)
		}
		requests := in.received()
		if len(requests) != 2 {
			t.Fatalf("%d requests, want one of each", len(requests))
		}
		ours, theirs := requests[0], requests[1]
		if ours.method != theirs.method || ours.path != theirs.path {
			t.Errorf("got %s %s, the client has %s %s", ours.method, ours.path, theirs.method, theirs.path)
		}
		for _, name := range []string{"Content-Type", "Content-Encoding", "Accept", "Dd-Api-Key"} {
			if ours.header.Get(name) != theirs.header.Get(name) || ours.header.Get(name) == "" {
				t.Errorf("%s: %q, the client has %q", name, ours.header.Get(name), theirs.header.Get(name))
			}
		}
		judged := judgePayload(t, ours.body)
		if !reflect.DeepEqual(judged, judgePayload(t, theirs.body)) || len(judged.Series) != len(all) {
			t.Errorf("got\n%s\nthe client sends\n%s", ours.body, theirs.body)
		}
		if got, want := parse(t, ours.body), parse(t, theirs.body); !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%s\nthe client sends\n%s", ours.body, theirs.body)
		}
	}
}

// judgePayload decodes a payload into the client's models.
func judgePayload(t *testing.T, body []byte) datadogV2.MetricPayload {
	t.Helper()
	var payload datadogV2.MetricPayload
	if err := json.Unmarshal(body, &payload); err != nil {
		t.Errorf("%v: %s", err, body)
	}
	understood(t, payload)
	return payload
}
