package series

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"

	"socktally/metric"
)

// metricPayload is the body of a request to Datadog's /api/v2/series. The tests in internal/integration/official compare
// it with Datadog's client.
type metricPayload struct {
	Series []metricSeries `json:"series"`
}

type metricSeries struct {
	Interval  int64            `json:"interval,omitempty"` // seconds, only for a count
	Metric    string           `json:"metric"`
	Points    []metricPoint    `json:"points"`
	Resources []metricResource `json:"resources"`
	Tags      []string         `json:"tags,omitempty"`
	Type      int              `json:"type"` // typeCount or typeGauge
	Unit      string           `json:"unit,omitempty"`
}

type metricPoint struct {
	Timestamp int64   `json:"timestamp"` // Unix seconds
	Value     float64 `json:"value"`
}

type metricResource struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Types of a series. Datadog also has 2, a rate, which is not used here.
const (
	typeCount = 1
	typeGauge = 3
)

// encode makes the compressed body of a request.
func (s *Sink) encode(samples []metric.Sample) ([]byte, error) {
	p := metricPayload{Series: make([]metricSeries, 0, len(samples))}
	for _, m := range samples {
		p.Series = append(p.Series, s.series(m))
	}
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	if err := json.NewEncoder(z).Encode(p); err != nil {
		return nil, fmt.Errorf("encode the payload: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress the payload: %w", err)
	}
	return body.Bytes(), nil
}

// series converts a sample to a series of one point. Its time is the sample's, in whole seconds.
func (s *Sink) series(m metric.Sample) metricSeries {
	one := metricSeries{
		Metric:    m.Name,
		Type:      typeGauge,
		Points:    []metricPoint{{Timestamp: m.Time.Unix(), Value: m.Value}},
		Tags:      metric.AllTags(s.tags, m),
		Resources: []metricResource{{Type: "host", Name: s.host}},
	}
	if m.Kind == metric.Count {
		one.Type = typeCount
		one.Interval = int64(max(1, math.Round(m.Interval.Seconds())))
	}
	if d, ok := metric.Lookup(m.Name); ok && d.Unit != metric.None {
		one.Unit = d.Unit
	}
	return one
}
