package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"socktally/query"
	"socktally/record"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPathsAndMethods(t *testing.T) {
	s := newServer(t, &memory{}, nil)
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/", 404, `{"errors":["nothing is at \"/\": want one of /api/v2/network/connections/aggregate, `},
		{"GET", ConnectionsPath + "/", 404, ""},
		{"GET", "/metrics", 404, ""},
		{"GET", "//healthz", 404, `{"errors":["nothing is at \"//healthz\": want one of /api`},
		{"GET", "/x/../healthz", 404, `{"errors":["nothing is at`},
		{"POST", "/healthz/.", 404, `{"errors":["nothing is at`},
		{"OPTIONS", "*", 404, `{"errors":["nothing is at \"*\"`},
		{"GET", "/health%7a", 200, `{"status":"ok"}`},
		{"GET", "/" + strings.Repeat("x", 1000), 404, ""},
		{"POST", ConnectionsPath, 405, `{"errors":["method \"POST\": want GET"]}`},
		{"OPTIONS", DNSPath, 405, ""},
		{"DELETE", "/healthz", 405, ""},
		{"GET", ConnectionsPath, 200, `{"data":[]}`},
		{"GET", DNSPath, 200, `{"data":[]}`},
		{"HEAD", DNSPath, 200, ""},
		{"GET", "/healthz", 200, `{"status":"ok"}`},
		{"GET", "/readyz", 200, `{"status":"ready"}`},
		{"GET", ConnectionsPath + "?from=%zz", 400, `query string: invalid URL escape`},
		{"GET", ConnectionsPath + "?limit=1;to=2", 400, `query string: invalid semicolon`},
		{"GET", ConnectionsPath + "?group_by=&tags=&query=+&from=&to=&limit=", 200, ""},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader("body")))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.body) || w.Body.Len() > 1000 {
			t.Errorf("%s %.80s: %d %s, want %d %s", c.method, c.path, w.Code, w.Body, c.code, c.body)
		}
		if allow := w.Header().Get("Allow"); (allow == "GET, HEAD") != (c.code == 405) {
			t.Errorf("%s %.80s: Allow: %s", c.method, c.path, allow)
		}
		if cors := w.Header().Get("Access-Control-Allow-Origin"); cors != "" {
			t.Errorf("%s allows the origin %s", c.path, cors)
		}
	}
}

func TestKeys(t *testing.T) {
	var log strings.Builder
	s := newServer(t, &memory{}, func(o *Options) {
		o.Keys = []string{"first-secret", "second-secret"}
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for key, want := range map[string]int{
		"": 403, "first-secret": 200, "second-secret": 200, "third-secret": 403, "first": 403, "first-secretx": 403, strings.Repeat("x", 1000): 403,
	} {
		for path, open := range map[string]bool{ConnectionsPath: false, DNSPath: false, "/healthz": true, "/readyz": true} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("DD-API-KEY", key)
			r.Header.Set("DD-APPLICATION-KEY", "any")
			s.ServeHTTP(w, r)
			if w.Code != want && !open || w.Code != 200 && open {
				t.Errorf("%s with the key %.20q: %d, want %d", path, key, w.Code, want)
			}
			if key != "" && strings.Contains(w.Body.String(), key) || strings.Contains(w.Body.String(), "secret") || w.Code == 403 && !strings.Contains(w.Body.String(), "SOCKTALLY_API_KEYS") {
				t.Errorf("%s with the key %.20q: %s", path, key, w.Body)
			}
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
}

func TestHost(t *testing.T) {
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8127": 200, "LOCALHOST.": 200, "127.0.0.1:8127": 200, "127.9.9.9": 200, "[::1]:8127": 200, "[::1]": 200, "[::ffff:127.0.0.1]": 200,
		"evil.invalid": 403, "evil.invalid:8127": 403, "localhost.evil.invalid": 403, "127.0.0.1.evil.invalid": 403, "192.0.2.1:8127": 403, "": 403, "[::2]": 403,
	} {
		for _, c := range []struct {
			local bool
			keys  []string
			check bool
		}{{true, nil, true}, {true, []string{"k"}, false}, {false, nil, false}} {
			s := newServer(t, &memory{}, func(o *Options) { o.LocalOnly, o.Keys = c.local, c.keys })
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", ConnectionsPath, nil)
			r.Host = host
			r.Header.Set("DD-API-KEY", "k")
			s.ServeHTTP(w, r)
			if w.Code != want && c.check || w.Code != 200 && !c.check {
				t.Errorf("%q with %+v: %d %s", host, c, w.Code, w.Body)
			}
		}
	}
}

// TestWindow asks with and without ends of the window.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		age        time.Duration
		parameters []string
		found      bool
	}{
		{time.Second, nil, true},
		{14 * time.Minute, nil, true},
		{16 * time.Minute, nil, false},
		{16 * time.Minute, []string{fmt.Sprint("from=", start.Unix()-17*60)}, true},
		{30 * time.Minute, []string{fmt.Sprint("to=", start.Unix()-20*60)}, true},
		{36 * time.Minute, []string{fmt.Sprint("to=", start.Unix()-20*60)}, false},
		{19 * time.Minute, []string{fmt.Sprint("to=", start.Unix()-20*60)}, false},
		{19 * time.Minute, []string{"from=0", fmt.Sprint("to=", start.Unix()-20*60)}, false},
		{21 * time.Minute, []string{"from=0", fmt.Sprint("to=", start.Unix()-20*60)}, true},
		{time.Second, []string{fmt.Sprint("to=", start.Unix()+3600), fmt.Sprint("from=", start.Unix()-60)}, true},
	} {
		s := newServer(t, &memory{at: start.Add(-c.age), connections: mixed()}, nil)
		if got := rows(t, s, ConnectionsPath, c.parameters...); (len(got) > 0) != c.found {
			t.Errorf("%v old, %v: found %v", c.age, c.parameters, got)
		}
	}
}

// TestRefresh: an answer also has the flows of the very moment of the question.
func TestRefresh(t *testing.T) {
	m := &memory{}
	refreshed := 0
	s := newServer(t, m, func(o *Options) {
		o.Refresh = func(context.Context) {
			refreshed++
			m.at, m.connections = start, mixed()
		}
	})
	s.now = func() time.Time { return start.Add(time.Duration(refreshed) * time.Millisecond) } // a refresh takes its time
	for _, c := range []struct {
		parameter string
		refreshes int
	}{{"from=1", 1}, {fmt.Sprint("to=", start.Unix()-1), 1}, {fmt.Sprint("to=", start.Unix()), 2}, {fmt.Sprint("to=", start.Unix()+9), 3}} {
		got := rows(t, s, ConnectionsPath, c.parameter)
		if refreshed != c.refreshes || (len(got) > 0) != (c.refreshes > 0 && c.parameter[0] != 't' || c.refreshes > 1) {
			t.Errorf("%s: %d refreshes, want %d; %v", c.parameter, refreshed, c.refreshes, got)
		}
	}
}

func TestTooManyQueries(t *testing.T) {
	m := &memory{block: make(chan struct{})}
	s := newServer(t, m, nil)
	synctest.Test(t, func(t *testing.T) {
		m.block = make(chan struct{})
		var wait sync.WaitGroup
		for range maxQueries {
			wait.Go(func() {
				if code, body := get(t, s, DNSPath); code != http.StatusOK {
					t.Errorf("%d %s", code, body)
				}
			})
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", ConnectionsPath, nil))
		if w.Code != 429 || w.Header().Get("Retry-After") != "1" || w.Header().Get("X-RateLimit-Reset") != "1" || !strings.Contains(w.Body.String(), "4 queries are being answered") {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		// Health costs nothing and is told all the same, and so are faults.
		for path, want := range map[string]int{"/healthz": 200, ConnectionsPath + "?limit=0": 400} {
			w := httptest.NewRecorder()
			if s.ServeHTTP(w, httptest.NewRequest("GET", path, nil)); w.Code != want {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
		close(m.block)
		wait.Wait()
		if code, body := get(t, s, DNSPath); code != http.StatusOK {
			t.Errorf("afterwards: %d %s", code, body)
		}
	})
}

func TestSlowQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &memory{block: make(chan struct{})}, nil)
		if code, body := get(t, s, ConnectionsPath); code != 429 || !strings.Contains(body, "took more than 1m0s: want a shorter window") {
			t.Errorf("%d %s", code, body)
		}
	})
}

// TestAbandonedQuery has a client go in the middle of many records.
func TestAbandonedQuery(t *testing.T) {
	m := &memory{}
	for range 2 * checkEvery {
		m.connections = append(m.connections, flowOf(1, nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e := connections(record.Fields())
	q, err := e.parseQuestion("", start)
	if err != nil {
		t.Fatal(err)
	}
	m.at = start.Add(-1)
	g := newGrouping[record.Counters](ctx, &q, 10)
	err = e.aggregate(g, m, query.NewRow("h"), &q)
	if !errors.Is(err, context.Canceled) || g.seen > checkEvery {
		t.Errorf("%v after %d records", err, g.seen)
	}
}

// TestUnreadableStore logs once for each change.
func TestUnreadableStore(t *testing.T) {
	var log strings.Builder
	m := &memory{}
	s := newServer(t, m, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		o.Ready = func(context.Context) error { return m.err }
	})
	for i, step := range []struct {
		err   error
		lines int
	}{{nil, 0}, {errors.New("disk on fire"), 1}, {errors.New("disk on fire"), 1}, {nil, 2}, {nil, 2}, {errors.New("disk on fire"), 3}} {
		m.err = step.err
		code, body := get(t, s, ConnectionsPath)
		ready, _ := get(t, s, "/readyz")
		if want := map[bool]int{true: 200, false: 500}[step.err == nil]; code != want || strings.Contains(body, "fire") {
			t.Errorf("step %d: %d %s", i, code, body)
		}
		if want := map[bool]int{true: 200, false: 503}[step.err == nil]; ready != want {
			t.Errorf("step %d: ready %d", i, ready)
		}
		if n := strings.Count(log.String(), "\n"); n != step.lines {
			t.Errorf("step %d: %d lines, want %d: %s", i, n, step.lines, &log)
		}
	}
}

type panicking struct{ memory }

func (*panicking) DNS(context.Context, time.Time, time.Time, func(*record.DNS) error) error {
	panic("at the disco")
}

func TestPanic(t *testing.T) {
	s := newServer(t, &memory{}, func(o *Options) { o.Source = &panicking{} })
	for range maxQueries + 1 {
		if code, body := get(t, s, DNSPath); code != 500 || strings.Contains(body, "disco") {
			t.Errorf("%d %s", code, body)
		}
	}
}

// serve serves until the test ends, and returns how to stop before.
func serve(t *testing.T, s *Server, l net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "api.sock")
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	ask := func() {
		t.Helper()
		r, err := client.Get("http://any.invalid" + ConnectionsPath)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("got %s", r.Status)
		}
		client.CloseIdleConnections()
	}
	l, err := Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, newServer(t, &memory{}, nil), l)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	ask()
	if _, err := Listen("unix", path); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second server: %v", err)
	}
	ask()
	stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	// A server that was killed leaves its socket.
	killed, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	killed.Close()
	if l, err = Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	serve(t, newServer(t, &memory{}, nil), l)
	ask()
	// A file that is not a socket is not removed.
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix", file); err == nil {
		t.Error("a file was replaced")
	}
}

func TestBusyPort(t *testing.T) {
	l, err := Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen("tcp", l.Addr().String()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

// TestLargeHeader sends more than a question can need.
func TestLargeHeader(t *testing.T) {
	l, err := Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, newServer(t, &memory{}, nil), l)
	for size, want := range map[int]int{1000: 200, 64 << 10: 431} {
		r, err := http.NewRequest("GET", "http://"+l.Addr().String()+DNSPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Large", strings.Repeat("x", size))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%d bytes: %s", size, answer.Status)
		}
	}
}
