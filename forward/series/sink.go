// Package series sends samples to a Datadog v2 series intake over HTTP. It decides what each answer means for the samples;
// the Forwarder waits and tries again.
package series

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"socktally/forward"
	"socktally/internal/clock"
	"socktally/metric"
)

// maxPayload is the largest estimated size of a payload before compression. The intake accepts 512,000 bytes compressed and
// ten times that uncompressed. Compression hardly ever makes data larger, so this payload is below both limits.
const maxPayload = 500_000

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
	Clock     clock.Clock // the machine's if nil
}

// Sink sends samples to one intake.
type Sink struct {
	url       string
	key       string
	host      string
	tags      []string
	userAgent string
	clock     clock.Clock
	client    *http.Client
}

// New returns the sink "http". net/http reads HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
func New(o Options) *Sink {
	return &Sink{
		url:       o.URL,
		key:       o.APIKey,
		host:      o.Host,
		tags:      o.Tags,
		userAgent: o.UserAgent,
		clock:     clock.OrSystem(o.Clock),
		client: &http.Client{
			Transport: http.DefaultTransport.(*http.Transport).Clone(),
			// After a redirect, the POST would become a GET without the payload.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
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

// Send implements forward.Sink. If the intake finds a payload too large or wrong, each half is sent alone, and so on. So
// only the wrong samples are lost.
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

// maxHalvings is how often one payload is split. It is enough to find two wrong samples in a thousand.
const maxHalvings = 24

// post delivers one payload. It splits the payload if the intake rejects it.
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

// submit makes one request. It returns nil if the intake accepts the samples. The error never has the key in it.
func (s *Sink) submit(ctx context.Context, samples []metric.Sample) *forward.Loss {
	l := s.request(ctx, samples)
	if l == nil {
		return nil
	}
	if s.key != "" && strings.Contains(l.Err.Error(), s.key) {
		// A server may send back what it has received.
		l.Err = errors.New(strings.ReplaceAll(l.Err.Error(), s.key, "[redacted]"))
	}
	l.Samples = slices.Clone(samples)
	if l.Reason == forward.Rejected || l.Reason == forward.TooLarge {
		l.Err = fmt.Errorf("%w (%s)", l.Err, names(samples))
	}
	return l
}

// request makes one request and interprets the answer.
func (s *Sink) request(ctx context.Context, samples []metric.Sample) *forward.Loss {
	body, err := s.encode(samples)
	if err != nil {
		return &forward.Loss{Reason: forward.Rejected, Err: err} // a later try would fail too
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/v2/series", bytes.NewReader(body))
	if err != nil {
		return lossOfError(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", s.userAgent)
	if s.key != "" {
		r.Header.Set("DD-API-KEY", s.key)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return lossOfError(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return lossOfResponse(resp, said, err == nil, s.clock.Now())
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

// names lists the first metrics of samples.
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
