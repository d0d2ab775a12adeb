package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"socktally/api"
	"socktally/config"
	"socktally/flows/coverage"
	"socktally/internal/clock"
	"socktally/internal/clock/clocktest"
	"socktally/record"
	"socktally/store"
)

// fakeStore keeps all records, and returns all of them for every window.
type fakeStore struct {
	mu      sync.Mutex
	records []record.Flow
	queries []record.DNS
	err     error
	stats   store.Stats
	closed  int
}

func (s *fakeStore) Add(_ time.Time, records []record.Flow, queries []record.DNS) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.records, s.queries = append(s.records, records...), append(s.queries, queries...)
	return nil
}

func (s *fakeStore) Connections(_ context.Context, _, _ time.Time, yield func(*record.Flow) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.records {
		if err := yield(&s.records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) DNS(_ context.Context, _, _ time.Time, yield func(*record.DNS) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.queries {
		if err := yield(&s.queries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) Stats() store.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *fakeStore) Ready(context.Context) error { return nil }
func (s *fakeStore) Close() error                { s.closed++; return nil }

func (s *fakeStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// newAPI makes a fixture that serves the flows of c and tallies only once an hour.
func newAPI(t *testing.T, c *fakeCounter, s *fakeStore, change func(*config.Config)) *fixture {
	t.Helper()
	return newAPIAt(t, nil, c, s, change)
}

// newAPIAt is newAPI with a given clock.
func newAPIAt(t *testing.T, at clock.Clock, c *fakeCounter, s *fakeStore, change func(*config.Config)) *fixture {
	t.Helper()
	return newFixture(t, func(cfg *config.Config, o *Options) {
		o.Clock = at
		withFlows(t, c, nil, func(cfg *config.Config) {
			schedule, err := config.ParseSchedule("@every 1h", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			cfg.Flows.Schedule = schedule
			cfg.API = config.API{Listen: config.Address{Network: "tcp", Target: "127.0.0.1:0"}, Loopback: true}
			if change != nil {
				change(cfg)
			}
		})(cfg, o)
		o.openStore = func(config.Config, *slog.Logger, clock.Clock) (recordStore, error) { return s, nil }
	})
}

// address waits until flows are counted, and returns where the API is.
func (f *fixture) address(t *testing.T) string {
	t.Helper()
	for range 1000 {
		if a := f.daemon.api.Load(); a != nil && f.log.lines("flows are counted") != nil {
			return a.listener.Addr().String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the API is not served:\n%s", f.log.String())
	return ""
}

// ask returns "id bytes" of each row of the answer.
func ask(t *testing.T, client *http.Client, base, path string, values url.Values) []string {
	t.Helper()
	r, err := client.Get(base + path + "?" + values.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %v", r.Status, body, err)
	}
	var answer struct {
		Data []struct {
			ID         string
			Attributes struct {
				Bytes int64 `json:"bytes_sent_by_client"`
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, d := range answer.Data {
		rows = append(rows, fmt.Sprint(d.ID, " ", d.Attributes.Bytes))
	}
	return rows
}

// TestQueriesSeeThePresent asks between two ticks, and sums the metrics of the whole run.
func TestQueriesSeeThePresent(t *testing.T) {
	networks := filepath.Join(t.TempDir(), "networks")
	if err := os.WriteFile(networks, []byte("10.0.0.0/24 name:db team:storage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, s := &fakeCounter{}, &fakeStore{}
	at := clocktest.New(time.Now())
	f := newAPIAt(t, at, c, s, func(cfg *config.Config) { cfg.Flows.NetworksFile = networks })
	stop := f.run()
	base := "http://" + f.address(t)
	groupBy := url.Values{"group_by": {"client_service,server_team,server_name,client_host"}}
	c.set(nil, coverage.Losses{}, 100, 11)
	c.mu.Lock()
	c.dns = []record.DNS{{Name: "db.invalid", Direction: record.Outgoing, Client: record.Endpoint{Owner: record.Owner{PID: 7}}, Server: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.53")}, DNSCounts: record.DNSCounts{Requests: 3}}}
	c.mu.Unlock()
	const row = "client_service:Web, server_team:storage, server_name:db, client_host:db-1 "
	if got := ask(t, http.DefaultClient, base, api.ConnectionsPath, groupBy); len(got) != 1 || got[0] != row+"111" {
		t.Errorf("got %q", got)
	}
	if got := ask(t, http.DefaultClient, base, api.DNSPath, url.Values{"tags": {"server_team:storage"}}); len(got) != 1 || got[0] != "network.dns_query:db.invalid 0" {
		t.Errorf("got %q", got)
	}
	// Flows of the next second may be missing in an answer; later ones are in it.
	c.set(nil, coverage.Losses{}, 1000)
	at.Advance(refreshAfter)
	if got := ask(t, http.DefaultClient, base, api.ConnectionsPath, groupBy); len(got) != 1 || got[0] != row+"1111" {
		t.Errorf("got %q", got)
	}
	// A step of the wall clock does not change the age of a tally.
	before := c.tallied()
	for _, step := range []time.Duration{0, 2 * time.Hour, -3 * time.Hour} {
		at.Step(step)
		ask(t, http.DefaultClient, base, api.ConnectionsPath, groupBy)
		if c.tallied() != before {
			t.Errorf("a query made a tally right after another, after a step of %v", step)
		}
	}
	if n := len(f.out.lines("socktally.flow.")); n != 0 {
		t.Errorf("a query sent %d metrics", n)
	}
	c.set(nil, coverage.Losses{}, 10_000)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if f.out.lines("socktally.flow.bytes_sent:11111|c|#service:web,remote:db") == nil {
		t.Errorf("the metrics are not those of all tallies:\n%s", f.out.String())
	}
	if f.out.lines("socktally.dns.total_requests:3|c|") == nil {
		t.Errorf("the metrics of DNS lack what a query tallied:\n%s", f.out.String())
	}
	if f.out.lines("socktally.store.records:5|c") == nil {
		t.Errorf("the records of the store are not counted:\n%s", f.out.String())
	}
	if len(s.records) != 4 || s.closed != 1 || c.closed != 1 {
		t.Errorf("%d records, store closed %d times, counter %d times", len(s.records), s.closed, c.closed)
	}
	if _, err := http.Get(base + "/healthz"); err == nil {
		t.Error("the API is served after the end")
	}
}

// TestMetricsWaitWithinBounds has queries with more combinations than may wait for a tick.
func TestMetricsWaitWithinBounds(t *testing.T) {
	c := &fakeCounter{}
	at := clocktest.New(time.Now())
	f := newAPIAt(t, at, c, &fakeStore{}, nil)
	if !f.daemon.flows.open() {
		t.Fatal("no flows")
	}
	many := make([]record.Flow, maxWaiting+1)
	for i := range many {
		many[i] = record.Flow{Direction: record.Outgoing, Counters: record.Counters{BytesSentByClient: 1}}
		many[i].Server.Addr = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	c.records = many
	f.daemon.flows.refresh(context.Background())
	at.Advance(refreshAfter)
	c.set(nil, coverage.Losses{}, 7)
	f.daemon.flows.refresh(context.Background())
	if c.tallied() != 1 {
		t.Errorf("%d tallies, want 1", c.tallies)
	}
	f.daemon.flows.close(f.daemon.forwarder)
	f.daemon.forwarder.Close(time.Minute)
	var sum float64
	for _, line := range f.out.lines("socktally.flow.bytes_sent:") {
		var n float64
		if _, err := fmt.Sscanf(line, "socktally.flow.bytes_sent:%g|", &n); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if want := float64(maxWaiting + 1 + 7); sum != want {
		t.Errorf("the metrics sum up to %v, want %v", sum, want)
	}
}

func TestStoreThatFails(t *testing.T) {
	c, s := &fakeCounter{}, &fakeStore{}
	f := newAPI(t, c, s, nil)
	stop := f.run()
	f.address(t)
	for i, step := range []struct {
		err error
		log string
	}{{nil, ""}, {errors.New("disk full"), "the store takes no records"}, {errors.New("disk full"), ""}, {nil, "the store takes records again"}} {
		s.fail(step.err)
		s.stats = store.Stats{FileBytes: 4096, WaitingBuckets: i % 2, DroppedRecords: []uint64{0, 4, 6, 6}[i], FoldedRecords: uint64(i) / 3}
		c.set(nil, coverage.Losses{}, 7)
		before := f.log.lines("the store")
		f.daemon.flows.tick(f.daemon.forwarder)
		added := f.log.lines("the store")[len(before):]
		if step.log == "" && len(added) > 0 || step.log != "" && (len(added) != 1 || !strings.Contains(added[0], step.log)) {
			t.Errorf("step %d logged %q", i, added)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"socktally.flow.bytes_sent:7|c|", "socktally.store.records:1|c", "socktally.store.losses:4|c|#reason:dropped",
		"socktally.store.losses:2|c|#reason:dropped", "socktally.store.losses:1|c|#reason:folded", "socktally.store.bytes:4096|g", "socktally.store.waiting:1|g",
	} {
		if f.out.lines(want) == nil {
			t.Errorf("%s is missing:\n%s", want, f.out.String())
		}
	}
}

// TestStartFails has an address that is in use, and a store that cannot be opened.
func TestStartFails(t *testing.T) {
	l, err := api.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := newAPI(t, &fakeCounter{}, &fakeStore{}, func(cfg *config.Config) { cfg.API.Listen.Target = l.Addr().String() })
	if err := f.daemon.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "open the API: listen tcp "+l.Addr().String()) {
		t.Errorf("got %v", err)
	}
	l.Close()
	f = newAPI(t, &fakeCounter{}, nil, func(cfg *config.Config) { cfg.API.Listen.Target = l.Addr().String() })
	f.daemon.openStore = func(config.Config, *slog.Logger, clock.Clock) (recordStore, error) {
		return nil, errors.New("open store: in use")
	}
	if err := f.daemon.Run(context.Background()); err == nil || err.Error() != "open store: in use" {
		t.Errorf("got %v", err)
	}
	if l, err = api.Listen("tcp", l.Addr().String()); err != nil {
		t.Errorf("the address is still taken: %v", err)
	}
	if f.out.String() != "" || f.log.String() != "" {
		t.Errorf("a run that did not begin said %q and sent %q", f.log.String(), f.out.String())
	}
}

// TestAPIThatEnds checks that the run ends if the server of the API fails.
func TestAPIThatEnds(t *testing.T) {
	c := &fakeCounter{}
	f := newAPI(t, c, &fakeStore{}, nil)
	ended := make(chan error, 1)
	go func() { ended <- f.daemon.Run(context.Background()) }()
	f.address(t)
	f.daemon.api.Load().listener.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "serve the API: ") {
		t.Errorf("got %v", err)
	}
	if c.closed != 1 || f.out.lines("sockstat.sockets.used:12|g") == nil {
		t.Errorf("the rest did not end well: closed %d times, sent %s", c.closed, f.out.String())
	}
}
