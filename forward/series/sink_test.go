package series

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"socktally/forward"
	"socktally/forward/forwardtest"
	"socktally/metric"
)

// intake is a real HTTP server. It gives the answer of the test and keeps the samples that it accepts.
type intake struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	answer   http.HandlerFunc // nil accepts
	requests int
	largest  int // compressed
	samples  []metric.Sample
}

func newIntake(t *testing.T) *intake {
	in := &intake{t: t}
	in.Server = httptest.NewServer(in)
	t.Cleanup(func() {
		in.CloseClientConnections()
		in.Close()
	})
	return in
}

func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/base/api/v2/series" || r.Header.Get("Content-Encoding") != "gzip" {
		in.t.Errorf("request is %s %s with encoding %q", r.Method, r.URL.Path, r.Header.Get("Content-Encoding"))
	}
	compressed, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	in.mu.Lock()
	answer := in.answer
	in.requests++
	in.largest = max(in.largest, len(compressed))
	in.mu.Unlock()
	if answer != nil {
		r.Body = io.NopCloser(strings.NewReader(string(compressed)))
		answer(w, r)
		return
	}
	in.accept(string(compressed))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, `{"errors":[]}`)
}

type payload struct {
	Series []struct {
		Metric   string `json:"metric"`
		Type     int    `json:"type"`
		Unit     string `json:"unit"`
		Interval int64  `json:"interval"`
		Points   []struct {
			Timestamp int64   `json:"timestamp"`
			Value     float64 `json:"value"`
		} `json:"points"`
		Tags      []string `json:"tags"`
		Resources []struct {
			Type string `json:"type"`
			Name string `json:"name"`
		} `json:"resources"`
	} `json:"series"`
}

func unzip(t *testing.T, compressed string) payload {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	var p payload
	if err := json.NewDecoder(z).Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

func (in *intake) accept(compressed string) {
	p := unzip(in.t, compressed)
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, s := range p.Series {
		if len(s.Points) != 1 || len(s.Resources) != 1 || s.Resources[0].Type != "host" || s.Resources[0].Name != "node1" || s.Tags[0] != "own:tag" {
			in.t.Errorf("series is %+v, want one point, the host and the sink's tag", s)
		}
		m := metric.Sample{Name: s.Metric, Value: s.Points[0].Value, Time: time.Unix(s.Points[0].Timestamp, 0), Interval: time.Duration(s.Interval) * time.Second}
		if len(s.Tags) > 1 {
			m.Tags = s.Tags[1:]
		}
		switch s.Type {
		case 1:
			m.Kind = metric.Count
			if s.Interval < 1 {
				in.t.Errorf("count %s has no interval", s.Metric)
			}
		case 3:
		default:
			in.t.Errorf("type of %s is %d", s.Metric, s.Type)
		}
		if d, _ := metric.Lookup(s.Metric); d.Unit != s.Unit {
			in.t.Errorf("unit of %s is %q, want %q", s.Metric, s.Unit, d.Unit)
		}
		in.samples = append(in.samples, m)
	}
}

// Received implements forwardtest.Receiver. Send returns after the answer, so all samples have arrived.
func (in *intake) Received(t *testing.T, n int) []metric.Sample {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.samples) != n {
		t.Errorf("received %d samples, want %d", len(in.samples), n)
	}
	return slices.Clone(in.samples)
}

func (in *intake) sink(key string) *Sink {
	return New(Options{URL: in.URL + "/base", APIKey: key, Host: "node1", Tags: []string{"own:tag"}, UserAgent: "socktally/test"})
}

func TestConformance(t *testing.T) {
	forwardtest.Run(t, func(t *testing.T) (forward.Sink, forwardtest.Receiver) {
		in := newIntake(t)
		return in.sink(""), in
	})
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// TestAnswers checks the meaning of every answer, and the text of the error.
func TestAnswers(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		reason forward.Reason
		retry  bool
		says   string
	}{
		{"400", status(400, `{"errors":["bad point"]}`), forward.Rejected, false, "bad point"},
		{"401", status(401, ``), forward.Forbidden, true, "401 Unauthorized"},
		{"403", status(403, `{"errors":["Forbidden"]}`), forward.Forbidden, true, "403 Forbidden"},
		{"404", status(404, `not here`), forward.BadAnswer, true, "404 Not Found"},
		{"408", status(408, ``), forward.Timeout, true, "408 Request Timeout"},
		{"413", status(413, ``), forward.TooLarge, false, "413 Request Entity Too Large"},
		{"422", status(422, ``), forward.Rejected, false, "422 Unprocessable Entity"},
		{"429", status(429, ``, "Retry-After", "7"), forward.Throttled, true, "429 Too Many Requests"},
		{"500", status(500, `oops`), forward.ServerError, true, "oops"},
		{"503", status(503, ``), forward.ServerError, true, "503 Service Unavailable"},
		{"redirect", status(301, ``, "Location", "https://elsewhere.invalid/"), forward.BadAnswer, true, `redirect to "https://elsewhere.invalid/"`},
		{"garbage", status(200, `<html>log in</html>`), forward.BadAnswer, true, "<html>log in</html>"},
		{"garbage without end", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			for chunk := strings.Repeat("x", 1<<16); ; {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}, forward.BadAnswer, true, "200 OK"},
		{"broken off before the answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, forward.Unreachable, true, "EOF"},
		{"hang", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}, forward.Timeout, true, "deadline exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := newIntake(t)
			in.answer = test.answer
			sink := in.sink("secret-key")
			forwardtest.Loses(t, sink, test.reason, test.retry)
			if test.name == "hang" {
				return // only the first answer is slow
			}
			lost := sink.Send(t.Context(), []metric.Sample{{Name: "sockstat.tcp.tw", Time: time.Now()}})
			if len(lost) != 1 || !strings.Contains(lost[0].Err.Error(), test.says) {
				t.Errorf("loss says %+v, want %q", lost, test.says)
			}
			if test.name == "429" && lost[0].RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter is %v, want 7s", lost[0].RetryAfter)
			}
		})
	}
}

func TestAcceptedAnswerThatBreaksOffIsDelivered(t *testing.T) {
	in := newIntake(t)
	in.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"err`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	if lost := in.sink("").Send(t.Context(), []metric.Sample{{Name: "sockstat.tcp.tw", Time: time.Now()}}); lost != nil {
		t.Errorf("Send lost %v after status 202", lost)
	}
}

func TestDeadIntake(t *testing.T) {
	in := newIntake(t)
	in.Close()
	forwardtest.Loses(t, in.sink(""), forward.Unreachable, true)
	forwardtest.Loses(t, New(Options{URL: "http://intake.invalid"}), forward.Unreachable, true)
}

func TestTLSFailure(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the handshake that is meant to fail
	server.StartTLS()
	defer server.Close()
	forwardtest.Loses(t, New(Options{URL: server.URL}), forward.Unreachable, true)
}

// TestKeyIsSentAndNeverShown has an intake that sends the key back.
func TestKeyIsSentAndNeverShown(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	in := newIntake(t)
	in.answer = func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("DD-API-KEY"); got != key {
			t.Errorf("DD-API-KEY is %q", got)
		}
		if got := r.Header.Get("User-Agent"); got != "socktally/test" {
			t.Errorf("User-Agent is %q", got)
		}
		w.WriteHeader(403)
		io.WriteString(w, "bad key "+r.Header.Get("DD-API-KEY"))
	}
	lost := in.sink(key).Send(t.Context(), []metric.Sample{{Name: "sockstat.tcp.tw", Time: time.Now()}})
	if len(lost) != 1 || strings.Contains(lost[0].Err.Error(), key) || !strings.Contains(lost[0].Err.Error(), "[redacted]") {
		t.Errorf("loss is %+v, want the key redacted", lost)
	}
}

// TestRejectedSampleIsIsolated has an intake that rejects payloads with a certain metric.
func TestRejectedSampleIsIsolated(t *testing.T) {
	for _, code := range []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge} {
		in := newIntake(t)
		in.answer = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			for _, s := range unzip(t, string(body)).Series {
				if s.Metric == "sockstat.frag.memory" {
					w.WriteHeader(code)
					return
				}
			}
			in.accept(string(body))
			w.WriteHeader(http.StatusAccepted)
		}
		samples := make([]metric.Sample, 500)
		for i := range samples {
			samples[i] = metric.Sample{Name: "sockstat.tcp.inuse", Value: float64(i), Time: time.Now()}
		}
		samples[313].Name = "sockstat.frag.memory"
		lost := in.sink("").Send(t.Context(), samples)
		if len(lost) != 1 || len(lost[0].Samples) != 1 || lost[0].Samples[0].Value != 313 {
			t.Fatalf("%d: lost %+v, want the one sample at fault", code, lost)
		}
		if !strings.Contains(lost[0].Err.Error(), "sockstat.frag.memory") {
			t.Errorf("%d: the error %q does not name the metric", code, lost[0].Err)
		}
		in.Received(t, 499)
	}
}

// TestRequestsAreBounded has an intake that rejects everything.
func TestRequestsAreBounded(t *testing.T) {
	in := newIntake(t)
	in.answer = status(400, "")
	samples := make([]metric.Sample, 1000)
	for i := range samples {
		samples[i] = metric.Sample{Name: "sockstat.tcp.inuse", Value: float64(i), Time: time.Now()}
	}
	var n int
	for _, l := range in.sink("").Send(t.Context(), samples) {
		n += len(l.Samples)
	}
	if n != len(samples) || in.requests > 1+2*maxHalvings {
		t.Errorf("lost %d of %d samples in %d requests, want all in at most %d", n, len(samples), in.requests, 1+2*maxHalvings)
	}
}

// TestPayloadsAreSplit sends too many samples for one payload, with tags that cannot be compressed.
func TestPayloadsAreSplit(t *testing.T) {
	in := newIntake(t)
	samples := make([]metric.Sample, 6000)
	for i := range samples {
		var tag strings.Builder
		for j := range 20 {
			tag.WriteString(string(rune('a'+(i*7+j*j*13+i*j)%26)) + string(rune('a'+(i*i+j*31)%26)))
		}
		samples[i] = metric.Sample{Name: "sockstat.tcp.inuse", Value: float64(i) * 1.37, Time: time.Now(), Tags: []string{"t:" + tag.String()}}
	}
	if lost := in.sink("").Send(t.Context(), samples); lost != nil {
		t.Fatalf("Send lost %v", lost)
	}
	in.Received(t, len(samples))
	if in.requests < 2 || in.largest > 512_000 {
		t.Errorf("%d requests of at most %d bytes, want several below 512000", in.requests, in.largest)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "120", 2 * time.Minute},
		{"Retry-After", now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{"Retry-After", now.Add(-time.Hour).Format(http.TimeFormat), 0},
		{"Retry-After", "-5", 0},
		{"Retry-After", "soon", 0},
		{"X-RateLimit-Reset", "10", 10 * time.Second},
	} {
		h := http.Header{}
		h.Set(test.name, test.value)
		if got := retryAfter(h, now); got != test.want {
			t.Errorf("%s: %s is %v, want %v", test.name, test.value, got, test.want)
		}
	}
}

// TestFlowTags checks that metrics of flows do not have the tag service of socktally's own process.
func TestFlowTags(t *testing.T) {
	s := New(Options{URL: "http://127.0.0.1", Tags: []string{"service:edge", "env:prod", "team:net"}})
	got := s.series(metric.Sample{Name: metric.FlowReset, Kind: metric.Count, Tags: []string{"service:db", "env:dev"}}).Tags
	if want := []string{"team:net", "service:db", "env:dev"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
