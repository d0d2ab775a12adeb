package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"socktally/internal/bench/paired"
	"socktally/query"
	"socktally/record"
	"socktally/store"
)

// manyRecords are records of so many flows, each in every one of the buckets.
func manyRecords(perBucket, buckets int) []record.Flow {
	all := make([]record.Flow, 0, perBucket*buckets)
	for range buckets {
		for i := range perBucket {
			all = append(all, flowOf(uint64(i), func(r *record.Flow) {
				r.Client.Owner.Service = fmt.Sprint("service-", i%50)
				r.Server.Addr = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
				r.Server.Port = uint16(1 + i%1000)
			}))
		}
	}
	return all
}

// groupBys go from one group to as many as there are flows.
var groupBys = []string{"client_service,server_service", "client_team,server_port", "client_service,network.client.ip,network.server.ip,server_port,client_pid"}

// BenchmarkAggregate is 15 minutes at 10,000 records a bucket, of which a window meets four, without
// the time that a store takes. The reference is a bare look at every record.
func BenchmarkAggregate(b *testing.B) {
	m := &memory{at: start.Add(-time.Minute), connections: manyRecords(10_000, 4)}
	look := func() error {
		var sum uint64
		return m.Connections(context.Background(), time.Time{}, start, func(r *record.Flow) error {
			sum += r.BytesSentByClient
			return nil
		})
	}
	for _, groupBy := range groupBys {
		for _, filter := range []string{"", "client_service:service-1* AND NOT CIDR(network.server.ip, 192.0.0.0/24)"} {
			values := url.Values{"group_by": {groupBy}, "query": {filter}}
			name := groupBy
			if filter != "" {
				name += "/filtered"
			}
			b.Run(name, func(b *testing.B) {
				compare(b, newServer(b, m, nil), values, look)
			})
		}
	}
}

// BenchmarkStore is the same from a store on disk, beside a bare look at every record of it.
func BenchmarkStore(b *testing.B) {
	at := start.Truncate(5 * time.Minute).Add(-15 * time.Minute)
	s, err := store.Open(store.Options{Path: filepath.Join(b.TempDir(), "db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 4 {
		if err := s.Add(at.Add(time.Duration(i)*5*time.Minute), manyRecords(10_000, 1), nil); err != nil {
			b.Fatal(err)
		}
	}
	now := at.Add(17 * time.Minute)
	look := func() error {
		n := 0
		err := s.Connections(context.Background(), at, now, func(*record.Flow) error { n++; return nil })
		if err == nil && n < 40_000 {
			err = fmt.Errorf("%d records", n)
		}
		return err
	}
	for _, groupBy := range groupBys {
		b.Run(groupBy, func(b *testing.B) {
			server := New(Options{Source: s, Log: slog.New(slog.DiscardHandler)})
			server.now = func() time.Time { return now }
			compare(b, server, url.Values{"group_by": {groupBy}}, look)
		})
	}
}

// compare times a question and a bare look at the records in turns. What is reported is the question's time, and
// how many times the look's that is.
func compare(b *testing.B, server http.Handler, values url.Values, look func() error) {
	question := func() error {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, ConnectionsPath+"?"+values.Encode(), nil))
		if w.Code != http.StatusOK {
			return fmt.Errorf("%d: %s", w.Code, w.Body)
		}
		return nil
	}
	var took, reference []float64
	for b.Loop() {
		results, err := paired.Turns(1, uint64(len(took)), paired.Timed(question), paired.Timed(look))
		if err != nil {
			b.Fatal(err)
		}
		took, reference = append(took, results[0]...), append(reference, results[1]...)
	}
	ratio := paired.Ratio(took, reference, 1)
	b.ReportMetric(paired.Median(took), "ns/op")
	b.ReportMetric(ratio.Mid, "x-look")
	b.ReportMetric(ratio.Low, "low-x-look")
	b.ReportMetric(ratio.High, "high-x-look")
}

// TestAggregationAllocatesNothing adds up records of groups that are there.
func TestAggregationAllocatesNothing(t *testing.T) {
	q, err := connections(nil).parseQuestion(url.Values{
		"group_by": {"client_service,client_team,network.client.ip,server_port,server_host,client_pid,server_zone,protocol"},
		"query":    {"client_service:ch* AND (server_port:4* OR network.server.ip:192.* OR CIDR(network.server.ip, 10.0.0.0/8)) AND NOT client_zone:z2"},
		"tags":     {"client_team:p*,client_pid:7*"},
	}.Encode(), start)
	if err != nil {
		t.Fatal(err)
	}
	g := newGrouping[record.Counters](context.Background(), &q, 10)
	r := flowOf(1, nil)
	row := query.NewRow("h")
	row.SetFlow(&r)
	allocations := testing.AllocsPerRun(1000, func() {
		sum, err := g.sumOf(row)
		if sum == nil || err != nil {
			t.Fatal(sum, err)
		}
		sum.Add(&r.Counters)
	})
	if allocations != 0 {
		t.Errorf("%v allocations a record", allocations)
	}
	if len(g.groups) != 1 || g.groups[0].sum.BytesSentByClient != 1001 {
		t.Errorf("%+v", g.groups)
	}
}
