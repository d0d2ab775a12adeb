package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// point is one value as a receiver tells it.
type point struct {
	Name   string
	Labels map[string]string
	Value  float64
	Time   time.Time // the zero time where the receiver keeps none
	Type   string    // gauge or counter where the receiver keeps it
}

// freePort returns a port of network, "tcp" or "udp", that was free on host a moment ago.
func freePort(t *testing.T, network, host string) string {
	t.Helper()
	var address net.Addr
	if network == "tcp" {
		l, err := net.Listen(network, net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		address = l.Addr()
	} else {
		c, err := net.ListenPacket(network, net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		address = c.LocalAddr()
	}
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// shortDir returns a temporary directory whose path leaves room for the name of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "st")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// client keeps no connection open, so that receivers that end leave none behind.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

func get(url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("GET %s: %s: %s", url, resp.Status, b)
	}
	return string(b), err
}

// exporter is a statsd_exporter. Its addresses are chosen before it starts, so that it can start
// late and again.
type exporter struct {
	udp, unixgram string // where it listens; "" for not
	web           string
	*process
}

func newExporter(t *testing.T, host string) *exporter {
	t.Helper()
	return &exporter{udp: net.JoinHostPort(host, freePort(t, "udp", host)), web: "127.0.0.1:" + freePort(t, "tcp", "127.0.0.1")}
}

func newUnixgramExporter(t *testing.T) *exporter {
	t.Helper()
	return &exporter{unixgram: shortDir(t) + "/dsd.sock", web: "127.0.0.1:" + freePort(t, "tcp", "127.0.0.1")}
}

// address returns the variable that leads socktally to the exporter.
func (e *exporter) address() string {
	if e.unixgram != "" {
		return "DD_DOGSTATSD_URL=unix://" + e.unixgram
	}
	return "DD_DOGSTATSD_URL=udp://" + e.udp
}

// start starts the exporter and waits until it listens.
func (e *exporter) start(t *testing.T) *exporter {
	t.Helper()
	e.process = start(t, nil, binary(t, statsdExporter), "--web.listen-address="+e.web, "--log.level=debug",
		"--statsd.listen-udp="+e.udp, "--statsd.listen-unixgram="+e.unixgram, "--statsd.listen-tcp=")
	eventually(t, func() error {
		_, err := get("http://" + e.web + "/metrics")
		return err
	})
	return e
}

var (
	promLine  = regexp.MustCompile(`^(sock(?:stat|tally)_\w+)(?:\{(.*)\})? (\S+)$`)
	promLabel = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
	promType  = regexp.MustCompile(`^# TYPE (\w+) (\w+)$`)
)

// points returns what the exporter has of socktally. It writes a metric's dots as underscores.
func (e *exporter) points(t *testing.T) []point {
	t.Helper()
	page, err := get("http://" + e.web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return exporterPoints(t, page)
}

// exporterPoints reads the page of an exporter.
func exporterPoints(t *testing.T, page string) []point {
	t.Helper()
	var all []point
	types := map[string]string{}
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if m := promType.FindStringSubmatch(line); m != nil {
			types[m[1]] = m[2]
		}
		m := promLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		p := point{Name: m[1], Labels: map[string]string{}, Value: number(t, m[3]), Type: types[m[1]]}
		for _, l := range promLabel.FindAllStringSubmatch(m[2], -1) {
			p.Labels[l[1]] = l[2]
		}
		all = append(all, p)
	}
	return all
}

// bad returns how many samples the exporter could not read.
func (e *exporter) bad(t *testing.T) float64 {
	t.Helper()
	page, err := get("http://" + e.web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(page) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "statsd_exporter_sample_errors_total") || strings.HasPrefix(name, "statsd_exporter_tag_errors_total") {
			sum += number(t, value)
		}
	}
	return sum
}

// victoria is a VictoriaMetrics.
type victoria struct {
	web  string
	data string
	args []string // beside those that all have
	*process
}

func newVictoria(t *testing.T) *victoria {
	t.Helper()
	return &victoria{web: "127.0.0.1:" + freePort(t, "tcp", "127.0.0.1"), data: t.TempDir()}
}

func (v *victoria) intake() string { return "http://" + v.web + "/datadog" }

func (v *victoria) start(t *testing.T) *victoria {
	t.Helper()
	args := append([]string{"-httpListenAddr=" + v.web, "-storageDataPath=" + v.data, "-loggerLevel=WARN", "-memory.allowedBytes=128MiB"}, v.args...)
	v.process = start(t, nil, binary(t, victoriaMetrics), args...)
	eventually(t, func() error {
		_, err := get("http://" + v.web + "/health")
		return err
	})
	return v
}

// points returns what VictoriaMetrics has of one host.
func (v *victoria) points(t *testing.T, host string) []point {
	t.Helper()
	// What was just written is not found until it is flushed.
	if _, err := get("http://" + v.web + "/internal/force_flush"); err != nil {
		t.Fatal(err)
	}
	lines, err := get("http://" + v.web + "/api/v1/export?match[]=" + url.QueryEscape(`{host="`+host+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	var all []point
	for decoder := json.NewDecoder(bufio.NewReader(strings.NewReader(lines))); ; {
		var series struct {
			Metric     map[string]string
			Values     []float64
			Timestamps []int64
		}
		if err := decoder.Decode(&series); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%v: %s", err, lines)
		}
		name := series.Metric["__name__"]
		delete(series.Metric, "__name__")
		for i, value := range series.Values {
			all = append(all, point{Name: name, Labels: series.Metric, Value: value, Time: time.UnixMilli(series.Timestamps[i])})
		}
	}
}

// find returns the points of one metric.
func find(points []point, name string) []point {
	var found []point
	for _, p := range points {
		if p.Name == name {
			found = append(found, p)
		}
	}
	return found
}

// hanging is the address of a receiver that takes connections and never answers, and a channel
// that tells of each connection.
func hanging(t *testing.T) (string, <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connected := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			connected <- struct{}{}
		}
	}()
	return l.Addr().String(), connected
}

func quoted(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
