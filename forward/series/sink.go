// Package series sends samples to a Datadog v2 series intake over HTTP, through the official API
// client. It decides what each answer means for the samples; waiting and retrying is the
// Forwarder's part.
package series

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"socktally/forward"
	"socktally/metric"
)

// maxPayload bounds the estimated size of a payload before compression. The intake takes 512,000
// bytes compressed and ten times that uncompressed; as compression adds almost nothing in the
// worst case, a payload below the first bound is below both.
const maxPayload = 500_000

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// Options are the settings of a Sink.
type Options struct {
	// URL is the base URL of the intake; /api/v2/series is appended.
	URL string
	// APIKey goes into the header DD-API-KEY, unless it is empty.
	APIKey string
	// Host becomes the host resource of every series.
	Host string
	// Tags are added to every series.
	Tags []string
	// UserAgent names this program and its version.
	UserAgent string
}

// Sink sends samples to one intake.
type Sink struct {
	url    string
	key    string
	host   string
	tags   []string
	client *http.Client
	api    *datadogV2.MetricsApi
}

// New returns the sink "http". Proxies are taken from HTTPS_PROXY and its relatives.
func New(o Options) *Sink {
	client := &http.Client{
		Transport: limitAnswers{http.DefaultTransport.(*http.Transport).Clone()},
		// A redirect would turn the POST into a GET and lose the payload.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cfg := datadog.NewConfiguration()
	cfg.HTTPClient = client
	cfg.UserAgent = o.UserAgent
	cfg.Servers = datadog.ServerConfigurations{{URL: o.URL}}
	cfg.OperationServers = nil
	return &Sink{
		url:    o.URL,
		key:    o.APIKey,
		host:   o.Host,
		tags:   o.Tags,
		client: client,
		api:    datadogV2.NewMetricsApi(datadog.NewAPIClient(cfg)),
	}
}

// Name implements forward.Sink.
func (s *Sink) Name() string { return "http" }

// Receiver implements forward.Sink.
func (s *Sink) Receiver() string { return s.url }

// Acknowledged implements forward.Sink.
func (s *Sink) Acknowledged() bool { return true }

// Close implements forward.Sink.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Send implements forward.Sink. A payload that the intake finds too large or wrong is halved, so
// that only the samples at fault are lost.
func (s *Sink) Send(ctx context.Context, samples []metric.Sample) []forward.Loss {
	var losses []forward.Loss
	for len(samples) > 0 {
		n := s.fitting(samples)
		halvings := maxHalvings
		losses = append(losses, s.post(ctx, samples[:n], &halvings)...)
		samples = samples[n:]
	}
	return losses
}

// maxHalvings bounds the extra requests for one payload that the intake finds wrong. It isolates
// two bad samples among a thousand.
const maxHalvings = 24

// post delivers one payload, in halves if need be.
func (s *Sink) post(ctx context.Context, samples []metric.Sample, halvings *int) []forward.Loss {
	loss := s.submit(ctx, samples)
	if loss == nil {
		return nil
	}
	atFault := loss.Reason == forward.TooLarge || loss.Reason == forward.Rejected
	if !atFault || len(samples) == 1 || *halvings == 0 {
		return []forward.Loss{*loss}
	}
	*halvings--
	half := len(samples) / 2
	return append(s.post(ctx, samples[:half], halvings), s.post(ctx, samples[half:], halvings)...)
}

// submit makes one request. It returns nil if the intake took the samples.
func (s *Sink) submit(ctx context.Context, samples []metric.Sample) *forward.Loss {
	payload := datadogV2.MetricPayload{Series: make([]datadogV2.MetricSeries, 0, len(samples))}
	for _, m := range samples {
		payload.Series = append(payload.Series, s.series(m))
	}
	if s.key != "" {
		ctx = context.WithValue(ctx, datadog.ContextAPIKeys, map[string]datadog.APIKey{"apiKeyAuth": {Key: s.key}})
	}
	gzip := datadogV2.NewSubmitMetricsOptionalParameters().WithContentEncoding(datadogV2.METRICCONTENTENCODING_GZIP)
	_, resp, err := s.api.SubmitMetrics(ctx, payload, *gzip)
	l := judge(resp, err)
	if l == nil {
		return nil
	}
	if s.key != "" && strings.Contains(l.Err.Error(), s.key) {
		// A strange server may send back what it was sent.
		l.Err = errors.New(strings.ReplaceAll(l.Err.Error(), s.key, "[redacted]"))
	}
	l.Samples = slices.Clone(samples)
	if l.Reason == forward.Rejected || l.Reason == forward.TooLarge {
		l.Err = fmt.Errorf("%w (%s)", l.Err, names(samples))
	}
	return l
}

// series turns a sample into the intake's shape: one point, stamped with the sample's own time in
// whole seconds.
func (s *Sink) series(m metric.Sample) datadogV2.MetricSeries {
	point := datadogV2.MetricPoint{Timestamp: datadog.PtrInt64(m.Time.Unix()), Value: datadog.PtrFloat64(m.Value)}
	series := datadogV2.MetricSeries{
		Metric:    m.Name,
		Type:      datadogV2.METRICINTAKETYPE_GAUGE.Ptr(),
		Points:    []datadogV2.MetricPoint{point},
		Tags:      metric.AllTags(s.tags, m),
		Resources: []datadogV2.MetricResource{{Type: datadog.PtrString("host"), Name: datadog.PtrString(s.host)}},
	}
	if m.Kind == metric.Count {
		series.Type = datadogV2.METRICINTAKETYPE_COUNT.Ptr()
		seconds := max(1, math.Round(m.Interval.Seconds()))
		series.Interval = datadog.PtrInt64(int64(seconds))
	}
	if d, ok := metric.Lookup(m.Name); ok && d.Unit != metric.None {
		series.Unit = datadog.PtrString(d.Unit)
	}
	return series
}

// fitting returns how many of the first samples make one payload, at least 1.
func (s *Sink) fitting(samples []metric.Sample) int {
	// The keys and numbers of one series are below 256 bytes.
	fixed := 256 + len(s.host)
	for _, t := range s.tags {
		fixed += len(t) + len(`"",`)
	}
	size := 0
	for i, m := range samples {
		size += fixed + len(m.Name)
		for _, t := range m.Tags {
			size += len(t) + len(`"",`)
		}
		if size > maxPayload && i > 0 {
			return i
		}
	}
	return len(samples)
}

// names lists the metrics of samples, shortened.
func names(samples []metric.Sample) string {
	const most = 3
	var list []string
	for _, m := range samples {
		if !slices.Contains(list, m.Name) {
			list = append(list, m.Name)
		}
	}
	if len(list) > most {
		return fmt.Sprintf("%s and %d more metrics", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// limitAnswers is a transport that cuts answers off, so that no answer can fill the memory.
type limitAnswers struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t limitAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// retryAfter reads how long the intake asks to be left alone: Retry-After in seconds or as a date,
// or Datadog's X-RateLimit-Reset in seconds.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After", "X-RateLimit-Reset"} {
		value := h.Get(name)
		if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
			return time.Duration(seconds) * time.Second
		}
		if t, err := http.ParseTime(value); err == nil && t.After(now) {
			return t.Sub(now)
		}
	}
	return 0
}
