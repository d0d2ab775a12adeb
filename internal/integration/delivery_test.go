package integration

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tagged is an environment with a tag from every variable that makes one, and the labels that a
// receiver makes of them.
func tagged(host string) (env []string, labels map[string]string) {
	env = []string{
		"DD_HOSTNAME=" + host, "DD_ENV=test", "DD_SERVICE=edge", "DD_VERSION=1.2.3",
		"DD_TAGS=rack:r1,zone:z2 env:other", // DD_ENV stands above the env here
		"SOCKTALLY_TAGS=team:net,rack:r1",   // a tag of DD_TAGS again
	}
	return env, map[string]string{
		"host": host, "env": "test", "service": "edge", "version": "1.2.3", "rack": "r1", "zone": "z2", "team": "net",
	}
}

// onceDelivers runs socktally once, and holds it to what a crontab needs.
func onceDelivers(t *testing.T, env ...string) {
	t.Helper()
	p := startSocktally(t, env, "once")
	if code := p.wait(t); code != 0 || p.stderr.String() != "" || p.stdout.String() != "" && !slices.Contains(env, "SOCKTALLY_FORWARD=stdout") {
		t.Fatalf("once: code %d, stdout %q, stderr %q, want 0 and nothing printed", code, p.stdout.String(), p.stderr.String())
	}
}

// checkReadings takes readings until each value of the kernel but those to skip stood still during
// one of them, and holds the receiver's value to that one. take takes reading number n, counted from
// 1, and may return the values at a moment between the reading and its own end; read returns what
// the receiver has of it, by the names of the catalogue. Each point must carry labels, and the sink
// too if it is about one.
func checkReadings(t *testing.T, labels map[string]string, skip map[string]bool, take func(n int) map[string]float64, read func(n int) []point) {
	t.Helper()
	types := documented(t)
	checked := map[string]bool{}
	wrong := map[string]string{} // a value that came back after a moment looks still, so that one is no fault
	var left []string
	for n := 1; n <= 30; n++ {
		before := kernel(t)
		meanwhile := take(n)
		want := still(before, kernel(t))
		maps.Copy(want, still(before, meanwhile))
		points := read(n) // by TCP, which the kernel counts too
		maps.DeleteFunc(before, func(name string, _ float64) bool { return skip[name] })
		seen := map[string]bool{}
		for _, p := range points {
			if seen[p.Name] {
				t.Errorf("%s came more than once: %v", p.Name, find(points, p.Name))
			}
			seen[p.Name] = true
			wantLabels := maps.Clone(labels)
			if p.Name == "socktally.spool.bytes" {
				wantLabels["sink"] = p.Labels["sink"]
			}
			if !maps.Equal(p.Labels, wantLabels) {
				t.Errorf("%s has the labels %v, want %v", p.Name, p.Labels, wantLabels)
			}
			kind, known := types[p.Name]
			if !known {
				t.Errorf("%s is not in metadata.csv", p.Name)
			}
			if p.Type != "" && p.Type != map[string]string{"gauge": "gauge", "count": "counter"}[kind] {
				t.Errorf("%s came as a %s, metadata.csv says %s", p.Name, p.Type, kind)
			}
			value, isStill := want[p.Name]
			_, has := before[p.Name]
			_, counted := kernelCounts[p.Name]
			switch {
			case counted: // none at first, see counts_test.go
			case isStill && has:
				if equal(p.Value, value) {
					checked[p.Name] = true
				} else {
					wrong[p.Name] = fmt.Sprintf("%s, /proc says %s", quoted(p.Value), quoted(value))
				}
			case p.Name == "socktally.reading.duration":
				if p.Value <= 0 || p.Value > 10 {
					t.Errorf("%s = %s s", p.Name, quoted(p.Value))
				}
			case !has && strings.HasPrefix(p.Name, "sockstat."):
				t.Errorf("%s came, but this kernel does not have it here", p.Name)
			}
		}
		left = nil
		for name := range before {
			if !seen[name] {
				t.Errorf("%s did not come", name)
			} else if !checked[name] {
				left = append(left, name)
			}
		}
		for _, name := range []string{"socktally.readings", "socktally.reading.duration"} {
			if !seen[name] {
				t.Errorf("%s did not come", name)
			}
		}
		if t.Failed() {
			return
		}
		if len(left) == 0 {
			t.Logf("%d metrics equal /proc after %d readings", len(checked), n)
			return
		}
	}
	for _, name := range left {
		t.Errorf("%s never stood still and arrived as it was; last wrong: %s", name, cmp.Or(wrong[name], "none"))
	}
}

// equal allows for the 15 digits or so of a receiver's own storage.
func equal(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Abs(b) }

// dots turns the names of statsd_exporter back to those of the catalogue.
func dots(t *testing.T, points []point) []point {
	t.Helper()
	names := map[string]string{}
	for name := range documented(t) {
		names[strings.ReplaceAll(name, ".", "_")] = name
	}
	for i := range points {
		if name, found := names[points[i].Name]; found {
			points[i].Name = name
		}
	}
	return points
}

// checkExporter holds what an exporter gets by socktally once to /proc.
func checkExporter(t *testing.T, e *exporter, skip map[string]bool, env ...string) {
	t.Helper()
	tags, labels := tagged("host-a")
	env = append(append(tags, e.address()), env...)
	take := func(int) map[string]float64 {
		onceDelivers(t, env...)
		return nil
	}
	checkReadings(t, labels, skip, take, func(n int) []point {
		var points []point
		eventually(t, func() error {
			points = dots(t, e.points(t))
			// The count of readings comes last.
			if r := find(points, "socktally.readings"); len(r) != 1 || r[0].Value != float64(n) {
				return fmt.Errorf("%d readings were delivered, statsd_exporter has %v", n, r)
			}
			return nil
		})
		return points
	})
	if bad := e.bad(t); bad != 0 {
		t.Errorf("statsd_exporter could not read %v samples or tags\n%s", bad, tail(e.stderr.String()))
	}
}

func TestStatsdExporterGetsEveryMetric(t *testing.T) {
	t.Run("udp", func(t *testing.T) {
		checkExporter(t, newExporter(t, "127.0.0.1").start(t), nil)
	})
	t.Run("udp6", func(t *testing.T) {
		c, err := net.ListenPacket("udp", "[::1]:0")
		if err != nil {
			t.Logf("not tested: this machine has no IPv6 loopback: %v", err)
			return
		}
		c.Close()
		checkExporter(t, newExporter(t, "::1").start(t), nil)
	})
	t.Run("unixgram", func(t *testing.T) {
		checkExporter(t, newUnixgramExporter(t).start(t), nil)
	})
	t.Run("scope netns", func(t *testing.T) {
		checkExporter(t, newExporter(t, "127.0.0.1").start(t), wholeKernel(), "SOCKTALLY_SCOPE=netns")
	})
}

// recorder is a proxy in front of an intake that notes the header of each request and the values of
// the kernel when the last one came.
type recorder struct {
	url     string
	mu      sync.Mutex
	headers []http.Header
	kernel  map[string]float64
}

func newRecorder(t *testing.T, intake string) *recorder {
	t.Helper()
	to, err := url.Parse(intake)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		r.mu.Lock()
		r.headers, r.kernel = append(r.headers, p.In.Header.Clone()), kernel(t)
		r.mu.Unlock()
		p.SetURL(to)
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	r.url = "http://" + l.Addr().String()
	return r
}

func TestVictoriaMetricsGetsEveryMetric(t *testing.T) {
	v := newVictoria(t).start(t)
	const key = "0123456789abcdef"
	intake := newRecorder(t, v.intake())
	_, labels := tagged("")
	var host string
	var began, ended time.Time
	take := func(n int) map[string]float64 {
		// A host of its own keeps each reading apart.
		host = fmt.Sprintf("host-%d", n)
		tags, _ := tagged(host)
		labels["host"] = host
		began = time.Now().Truncate(time.Second)
		onceDelivers(t, append(tags, "SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL="+intake.url, "DD_API_KEY="+key)...)
		ended = time.Now()
		// A connection that ends leaves one socket in TIME_WAIT.
		intake.mu.Lock()
		defer intake.mu.Unlock()
		return intake.kernel
	}
	checkReadings(t, labels, nil, take, func(int) []point {
		var points []point
		eventually(t, func() error {
			points = v.points(t, host)
			if r := find(points, "socktally.readings"); len(r) != 1 || r[0].Value != 1 {
				return fmt.Errorf("one reading was delivered, VictoriaMetrics has %v", r)
			}
			return nil
		})
		for _, p := range points {
			if p.Time.Before(began) || p.Time.After(ended) || p.Time.UnixMilli()%1000 != 0 || !p.Time.Equal(points[0].Time) {
				t.Errorf("%s is of %v, %s of %v: want one whole second between %v and %v", p.Name, p.Time, points[0].Name, points[0].Time, began, ended)
			}
		}
		return points
	})
	for _, h := range intake.headers {
		if h.Get("Content-Encoding") != "gzip" || h.Get("DD-API-KEY") != key || !strings.HasPrefix(h.Get("User-Agent"), "socktally/") {
			t.Errorf("a request has the header %v, want gzip, the key and socktally's name", h)
		}
	}
}

// stdoutPoints runs socktally once into stdout and reads its DogStatsD lines.
func stdoutPoints(t *testing.T, env ...string) []point {
	t.Helper()
	p := startSocktally(t, append(env, "SOCKTALLY_FORWARD=stdout"), "once")
	if code := p.wait(t); code != 0 {
		t.Fatalf("once: code %d", code)
	}
	var points []point
	for line := range strings.Lines(p.stdout.String()) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		sections := strings.Split(rest, "|")
		if len(sections) < 2 {
			t.Fatalf("no DogStatsD line: %q", line)
		}
		pt := point{Name: name, Value: number(t, sections[0]), Labels: map[string]string{}}
		pt.Type = map[string]string{"g": "gauge", "c": "counter"}[sections[1]]
		for _, s := range sections[2:] {
			list, isTags := strings.CutPrefix(s, "#")
			if !isTags {
				continue
			}
			for tag := range strings.SplitSeq(list, ",") {
				key, value, _ := strings.Cut(tag, ":")
				if _, again := pt.Labels[key]; again {
					t.Errorf("%s has the tag %s twice: %q", name, key, line)
				}
				pt.Labels[key] = value
			}
		}
		points = append(points, pt)
	}
	return points
}

// checkStdout holds what socktally once prints to /proc.
func checkStdout(t *testing.T, skip map[string]bool, env ...string) {
	t.Helper()
	tags, labels := tagged("host-a")
	var points []point
	take := func(int) map[string]float64 {
		points = stdoutPoints(t, append(tags, env...)...)
		return nil
	}
	checkReadings(t, labels, skip, take, func(int) []point { return points })
}

func TestStdoutHasEveryMetricAndEachTagOnce(t *testing.T) {
	checkStdout(t, nil)
}

// TestOwnMetricsArrive runs the daemon until its own numbers are at both receivers.
func TestOwnMetricsArrive(t *testing.T) {
	e, v := newExporter(t, "127.0.0.1").start(t), newVictoria(t).start(t)
	tags, labels := tagged("host-a")
	d := startDaemon(t, append(tags, e.address(), "SOCKTALLY_FORWARD=dogstatsd,http", "SOCKTALLY_HTTP_URL="+v.intake())...)
	for receiver, read := range map[string]func() []point{
		statsdExporter:  func() []point { return dots(t, e.points(t)) },
		victoriaMetrics: func() []point { return v.points(t, "host-a") },
	} {
		eventually(t, func() error {
			points := read()
			for _, name := range []string{"socktally.samples.sent", "socktally.last_success"} {
				for _, sink := range []string{"dogstatsd", "http"} {
					if name == "socktally.samples.sent" && sink != map[string]string{statsdExporter: "dogstatsd", victoriaMetrics: "http"}[receiver] {
						continue // each sink tells its own counts
					}
					want := maps.Clone(labels)
					want["sink"] = sink
					if !slices.ContainsFunc(find(points, name), func(p point) bool { return maps.Equal(p.Labels, want) && p.Value > 0 }) {
						return fmt.Errorf("%s has no %s with the labels %v: %v", receiver, name, want, find(points, name))
					}
				}
			}
			return nil
		})
	}
	for _, p := range find(dots(t, e.points(t)), "socktally.last_success") {
		if age := time.Since(time.UnixMilli(int64(p.Value * 1000))); age < 0 || age > patience {
			t.Errorf("%v is %v ago", p, age)
		}
	}
	if slices.Contains(d.messages(), msgNotDelivered) {
		t.Errorf("the log says %q", d.messages())
	}
}
