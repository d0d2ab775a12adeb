package forward_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"socktally/forward"
	"socktally/forward/series"
	"socktally/forward/spool"
	"socktally/metric"
)

// moods are the ways in which an intake can treat a request.
const (
	up        = "up"
	failing   = "503"
	hanging   = "hang"
	resetting = "reset"
	throttled = "429"
	down      = "down"
)

// moodyIntake is a real HTTP server with a script. It keeps every point that it accepts.
type moodyIntake struct {
	t       *testing.T
	address string

	mu     sync.Mutex
	mood   string
	server *http.Server
	points map[string]float64 // by metric, tags and time
	twice  []string
}

func newMoodyIntake(t *testing.T) *moodyIntake {
	in := &moodyIntake{t: t, address: "127.0.0.1:0", mood: down, points: map[string]float64{}}
	in.set(up)
	t.Cleanup(func() { in.set(down) })
	return in
}

func (in *moodyIntake) set(mood string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	wasDown := in.mood == down
	in.mood = mood
	switch {
	case mood == down && !wasDown:
		in.server.Close()
	case mood != down && wasDown:
		l, err := net.Listen("tcp", in.address)
		if err != nil {
			in.t.Fatal(err)
		}
		in.address = l.Addr().String()
		in.server = &http.Server{Handler: in}
		go in.server.Serve(l)
	}
}

func (in *moodyIntake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch in.mood {
	case failing:
		w.WriteHeader(http.StatusServiceUnavailable)
	case throttled:
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	case resetting:
		io.CopyN(io.Discard, r.Body, 10)
		panic(http.ErrAbortHandler)
	case hanging:
		in.mu.Unlock()
		<-r.Context().Done()
		in.mu.Lock()
	case up:
		in.accept(r.Body)
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"errors":[]}`)
	}
}

func (in *moodyIntake) accept(body io.Reader) {
	z, err := gzip.NewReader(body)
	if err != nil {
		in.t.Error(err)
		return
	}
	var p struct {
		Series []struct {
			Metric string
			Tags   []string
			Points []struct {
				Timestamp int64
				Value     float64
			}
		}
	}
	if err := json.NewDecoder(z).Decode(&p); err != nil {
		in.t.Error(err)
		return
	}
	for _, s := range p.Series {
		key := fmt.Sprintf("%s %v %d", s.Metric, s.Tags, s.Points[0].Timestamp)
		if _, found := in.points[key]; found {
			in.twice = append(in.twice, key)
		}
		in.points[key] = s.Points[0].Value
	}
}

func (in *moodyIntake) has(name string, at time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	_, found := in.points[fmt.Sprintf("%s [] %d", name, at.Unix())]
	return found
}

func (in *moodyIntake) count() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.points)
}

// sum sums a count about socktally itself over all times.
func (in *moodyIntake) sum(name, tag string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	total := 0.0
	for key, v := range in.points {
		if strings.HasPrefix(key, name+" ") && strings.Contains(key, tag) {
			total += v
		}
	}
	return int(total)
}

// TestHourOfOutages has an hour in which the intake fails in every way. Every point that was read arrives exactly once with
// its own time, unless it became too old. The metrics about socktally itself, as the intake has them, agree with that.
func TestHourOfOutages(t *testing.T) {
	const interval = 15 * time.Second
	script := []struct {
		minutes int
		mood    string
	}{{5, up}, {5, failing}, {2, up}, {5, hanging}, {5, resetting}, {3, up}, {10, throttled}, {15, down}, {5, failing}, {5, up}}

	for _, maxAge := range []time.Duration{time.Hour, 8 * time.Minute} {
		t.Run(maxAge.String(), func(t *testing.T) {
			t.Parallel()
			in := newMoodyIntake(t)
			dir := t.TempDir()
			options, clock := forward.WithTestClock(forward.Options{
				SpoolDir:    dir,
				SpoolLimits: spool.Limits{MaxBytes: 64 << 20, MaxAge: maxAge},
			}, time.Second)
			sink := series.New(series.Options{URL: "http://" + in.address, Host: "node1"})
			f := forward.New(slog.New(slog.DiscardHandler), options, sink)

			onDisk := func(at time.Time) bool {
				files, err := filepath.Glob(filepath.Join(dir, "http", fmt.Sprintf("%020d-*", at.UnixNano())))
				return err == nil && len(files) > 0
			}
			var readings []time.Time
			read := func() {
				now := clock.Now()
				readings = append(readings, now)
				f.Count(metric.Readings, 1)
				f.Forward([]metric.Sample{
					{Name: "sockstat.tcp.inuse", Value: float64(now.Unix()), Time: now},
					{Name: "sockstat.tcp.mem_ratio", Value: 1 / float64(now.Unix()), Time: now},
				}, now, now.Add(interval))
				forward.Eventually(t, "delivery or keeping of a reading", func() bool { return in.has("sockstat.tcp.inuse", now) || onDisk(now) })
				for range interval / time.Second {
					clock.Advance(time.Second)
				}
			}
			for _, part := range script {
				in.set(part.mood)
				for range time.Duration(part.minutes) * time.Minute / interval {
					read()
				}
			}
			for range 4 { // the longest wait after a failure is 30 s
				read()
			}
			forward.Eventually(t, "replay of all that was kept", func() bool {
				files, err := filepath.Glob(filepath.Join(dir, "http", "*.spool"))
				return err == nil && len(files) == 0
			})
			forward.Eventually(t, "the count of all that was sent", func() bool { return f.Sent() == in.count() })
			read() // has the counts about the rest
			s := f.Close(10 * time.Second)[0]

			if len(in.twice) > 0 {
				t.Errorf("%d points arrived twice: %v", len(in.twice), in.twice[:min(3, len(in.twice))])
			}
			missing := 0
			for i, at := range readings {
				if in.has("sockstat.tcp.inuse", at) != in.has("sockstat.tcp.mem_ratio", at) {
					t.Errorf("half of reading %d arrived", i)
				}
				if !in.has("sockstat.tcp.inuse", at) {
					missing++
				}
			}
			if maxAge == time.Hour && (missing > 0 || s.Expired > 0) {
				t.Errorf("%d of %d readings are missing, %d samples expired", missing, len(readings), s.Expired)
			}
			if maxAge < time.Hour && (missing == 0 || s.Expired < 2*missing) {
				t.Errorf("%d readings are missing and %d samples expired, want some", missing, s.Expired)
			}
			if s.Dropped > 0 || s.Evicted > 0 {
				t.Errorf("dropped %d, evicted %d (%v), want none", s.Dropped, s.Evicted, s.LastErr)
			}
			if s.Sent != len(in.points) {
				t.Errorf("sent %d samples, the intake has %d", s.Sent, len(in.points))
			}
			// No batch has the counts about the last one.
			last := 0
			for key := range in.points {
				if strings.HasSuffix(key, fmt.Sprint(" ", readings[len(readings)-1].Unix())) {
					last++
				}
			}
			for _, told := range []struct {
				name, tag string
				want      int
			}{
				{metric.Readings, "", len(readings)},
				{metric.SamplesSent, "sink:http", s.Sent - last},
				{metric.SamplesDropped, "reason:age", s.Expired},
				{metric.SamplesSpooled, "sink:http", s.Spooled},
				{metric.SamplesReplayed, "sink:http", s.Replayed},
			} {
				if got := in.sum(told.name, told.tag); got != told.want {
					t.Errorf("the intake was told of %s %d, want %d", told.name, got, told.want)
				}
			}
			if s.Spooled != s.Replayed+s.Expired {
				t.Errorf("spooled %d, replayed %d, expired %d", s.Spooled, s.Replayed, s.Expired)
			}
		})
	}
}

// TestSpoolThatDoesNotWork checks that samples are still sent if nothing can be kept.
func TestSpoolThatDoesNotWork(t *testing.T) {
	in := newMoodyIntake(t)
	in.set(failing)
	options, clock := forward.WithTestClock(forward.Options{
		SpoolDir:    "/proc/self/nothing-can-be-made-here",
		SpoolLimits: spool.Limits{MaxBytes: 64 << 20, MaxAge: time.Hour},
	}, time.Second)
	var log strings.Builder
	f := forward.New(slog.New(slog.NewTextHandler(&log, nil)), options, series.New(series.Options{URL: "http://" + in.address}))
	for range 3 {
		now := clock.Now()
		f.Forward([]metric.Sample{{Name: "sockstat.tcp.inuse", Time: now}}, now, now)
		clock.Advance(time.Minute)
	}
	s := f.Close(10 * time.Second)[0]
	if s.Dropped < 3 || s.Spooled != 0 || s.LastErr == nil || errors.Is(s.LastErr, io.EOF) {
		t.Errorf("%+v, want every sample dropped with its cause", s)
	}
	if n := strings.Count(log.String(), "spool does not work"); n != 1 {
		t.Errorf("the log says %d times that the spool does not work:\n%s", n, log.String())
	}
}
