package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"socktally/record"
	"strings"
	"testing"
	"time"
)

// memory is a Source of records that are all of one moment.
type memory struct {
	at          time.Time
	connections []record.Flow
	dns         []record.DNS
	err         error
	block       chan struct{} // if set, a query waits for it or for its context
}

func (m *memory) wait(ctx context.Context) error {
	if m.block != nil {
		select {
		case <-m.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return m.err
}

func (m *memory) Connections(ctx context.Context, from, to time.Time, yield func(*record.Flow) error) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	if m.at.Before(from) || !m.at.Before(to) {
		return nil
	}
	var r record.Flow // valid until yield returns, and not longer
	for i := range m.connections {
		r = m.connections[i]
		if err := yield(&r); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) DNS(ctx context.Context, from, to time.Time, yield func(*record.DNS) error) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	for i := range m.dns {
		if m.at.Before(from) || !m.at.Before(to) {
			break
		}
		if err := yield(&m.dns[i]); err != nil {
			return err
		}
	}
	return nil
}

// start is the time of a test's server.
var start = time.Unix(1_700_000_000, 0)

func newServer(t testing.TB, m *memory, change func(*Options)) *Server {
	t.Helper()
	if m.at.IsZero() {
		m.at = start.Add(-time.Minute)
	}
	o := Options{Source: m, Hostname: "web-1", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if change != nil {
		change(&o)
	}
	s := New(o)
	s.now = func() time.Time { return start }
	return s
}

// get asks for path with parameters such as "group_by=protocol", which it escapes.
func get(t testing.TB, s *Server, path string, parameters ...string) (int, string) {
	t.Helper()
	values := url.Values{}
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		values.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?"+values.Encode(), nil))
	if contentType := w.Header().Get("Content-Type"); contentType != "application/json" {
		t.Errorf("content type %q", contentType)
	}
	return w.Code, strings.TrimSpace(w.Body.String())
}

// rows returns "id bytes" or, of DNS, "id requests" of each row.
func rows(t testing.TB, s *Server, path string, parameters ...string) []string {
	t.Helper()
	code, body := get(t, s, path, parameters...)
	if code != http.StatusOK {
		t.Errorf("%v: %d %s", parameters, code, body)
		return nil
	}
	var answer struct {
		Data []struct {
			ID         string
			Attributes struct {
				BytesSentByClient int64 `json:"bytes_sent_by_client"`
				BytesSentByServer int64 `json:"bytes_sent_by_server"`
				Metrics           []struct {
					Key   string
					Value int64
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	all := []string{}
	for _, d := range answer.Data {
		size := d.Attributes.BytesSentByClient + d.Attributes.BytesSentByServer
		for _, m := range d.Attributes.Metrics {
			if m.Key == "dns_total_requests" {
				size = m.Value
			}
		}
		all = append(all, fmt.Sprintf("%s %d", d.ID, size))
	}
	return all
}

func same(a, b []string) bool { return fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b) }

// flowOf is a flow of bytes from a client of this host to a server elsewhere.
func flowOf(bytes uint64, change func(*record.Flow)) record.Flow {
	r := record.Flow{
		Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Outgoing,
		Client: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{
			PID: 71, Process: "curl", Service: "checkout", Env: "prod", Version: "2.1", Tags: []string{"team:pay", "Zone:z1"},
			ContainerID: strings.Repeat("ab", 32),
		}},
		Server:   record.Endpoint{Addr: netip.MustParseAddr("192.0.2.10"), Port: 443},
		Counters: record.Counters{BytesSentByClient: bytes},
	}
	if change != nil {
		change(&r)
	}
	return r
}

// dnsOf is a DNS query of this host that was asked so often and always answered.
func dnsOf(name string, requests uint64, change func(*record.DNS)) record.DNS {
	r := record.DNS{
		Protocol: "udp", Direction: record.Outgoing, Name: name, Type: "A",
		Client:    record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{PID: 71, Process: "curl", Service: "checkout"}},
		Server:    record.Endpoint{Addr: netip.MustParseAddr("192.0.2.53"), Port: 53},
		DNSCounts: record.DNSCounts{Requests: requests, Successes: requests},
	}
	if change != nil {
		change(&r)
	}
	return r
}
