package store_test

import (
	"context"
	"database/sql"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"socktally/internal/bench/paired"
	"socktally/record"
	"socktally/store"
)

const perBucket = 10_000

// group is the API's default question: who talked to whom, by service.
type group struct{ client, server string }

type total struct{ sent, received, packets, established, rtt, samples uint64 }

func aggregate(b *testing.B, s *store.Store, from, to time.Time) (records int) {
	groups := map[group]*total{}
	err := s.Connections(context.Background(), from, to, func(r *record.Flow) error {
		records++
		k := group{r.Client.Owner.Service, r.Server.Owner.Service}
		t := groups[k]
		if t == nil {
			t = &total{}
			groups[k] = t
		}
		t.sent += r.BytesSentByClient
		t.received += r.BytesSentByServer
		t.packets += r.PacketsSentByClient + r.PacketsSentByServer
		t.established += r.Established
		t.rtt += r.RTTSum
		t.samples += r.RTTSamples
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return records
}

// filledStore has so many full buckets of 10,000 records, and one that is not finished.
func filledStore(b *testing.B, path string, buckets int) *store.Store {
	s := open(b, store.Options{Path: path})
	host := newBusy(perBucket, 1)
	for i := range buckets + 1 {
		records, _ := host.next()
		add(b, s, noon.Add(time.Duration(i)*bucket), records)
	}
	return s
}

// BenchmarkConnections15Minutes reads three buckets of 10,000 records and as much that is not finished.
func BenchmarkConnections15Minutes(b *testing.B) {
	benchmark(b, 3)
}

// BenchmarkConnectionsFiveDays reads 14.4 million records; with -short, six hours of them.
func BenchmarkConnectionsFiveDays(b *testing.B) {
	buckets := 5 * 24 * 12
	if testing.Short() {
		buckets = 6 * 12
	}
	benchmark(b, buckets)
}

func benchmark(b *testing.B, buckets int) {
	path := newPath(b)
	s := filledStore(b, path, buckets)
	b.ReportAllocs()
	records := 0
	for b.Loop() {
		records = aggregate(b, s, noon, noon.Add(time.Duration(buckets+1)*bucket))
	}
	b.StopTimer()
	b.ReportMetric(float64(records), "records")
	b.ReportMetric(float64(s.Stats().FileBytes)/float64(records), "file-B/record")
	reference(b, func() error {
		aggregate(b, s, noon, noon.Add(time.Duration(buckets+1)*bucket))
		return nil
	}, records)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	open(b, store.Options{Path: path})
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "open-ms")
}

const question = "SELECT client_service, server_service, sum(sent), sum(received), sum(packets), sum(established)," +
	" sum(rtt), sum(samples) FROM record WHERE bucket >= 0 AND bucket < 9000000000 GROUP BY 1, 2"

// reference has the same question answered from a table with a row for each of as many records, or fewer: by the
// sqlite3 command, and in Go, in turns with ours. How much longer each record takes there is reported.
func reference(b *testing.B, ours func() error, oursRecords int) {
	records := min(oursRecords, 40*perBucket)
	path := filepath.Join(b.TempDir(), "rows.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	must := func(_ any, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	must(db.Exec(`PRAGMA synchronous = OFF; CREATE TABLE record (bucket INTEGER, protocol TEXT, family TEXT, source TEXT, direction TEXT,
		client_ip TEXT, client_pid INTEGER, client_process TEXT, client_service TEXT, client_container TEXT,
		server_ip TEXT, server_port INTEGER, server_pid INTEGER, server_process TEXT, server_service TEXT, server_container TEXT, domain TEXT,
		sent INTEGER, received INTEGER, packets INTEGER, established INTEGER, rtt INTEGER, samples INTEGER);
		CREATE INDEX record_bucket ON record (bucket); BEGIN`))
	insert, err := db.Prepare("INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
	if err != nil {
		b.Fatal(err)
	}
	host := newBusy(perBucket, 1)
	for written := 0; written < records; {
		rows, _ := host.next()
		for i := range rows {
			r := &rows[i]
			c, s := &r.Client, &r.Server
			must(insert.Exec(noon.Unix(), r.Protocol, r.Family, r.Source, r.Direction,
				c.Addr.String(), c.Owner.PID, c.Owner.Process, c.Owner.Service, c.Owner.ContainerID,
				s.Addr.String(), s.Port, s.Owner.PID, s.Owner.Process, s.Owner.Service, s.Owner.ContainerID, r.ServerDomain,
				int64(r.BytesSentByClient), int64(r.BytesSentByServer), int64(r.PacketsSentByClient+r.PacketsSentByServer),
				int64(r.Established), int64(r.RTTSum), int64(r.RTTSamples)))
		}
		written += len(rows)
	}
	must(db.Exec("COMMIT"))
	scan := func(query string) func() error {
		return func() error {
			rows, err := db.Query(query)
			if err != nil {
				return err
			}
			defer rows.Close()
			groups := map[group]*total{}
			for rows.Next() {
				var k group
				var t total
				if err := rows.Scan(&k.client, &k.server, &t.sent, &t.received, &t.packets, &t.established, &t.rtt, &t.samples); err != nil {
					return err
				}
				groups[k] = &t
			}
			return rows.Err()
		}
	}
	names := []string{"x-go-group", "x-go-rows"}
	ways := []func() (float64, error){
		paired.Timed(ours), paired.Timed(scan(question)),
		paired.Timed(scan("SELECT client_service, server_service, sent, received, packets, established, rtt, samples FROM record")),
	}
	if _, err := exec.LookPath("sqlite3"); err != nil {
		b.Logf("x-sqlite3: %v", err)
	} else {
		names = append(names, "x-sqlite3")
		ways = append(ways, paired.Timed(func() error { return exec.Command("sqlite3", path, question).Run() }))
	}
	const rounds = 9
	results, err := paired.Turns(rounds, 1, ways...)
	if err != nil {
		b.Fatal(err)
	}
	for i, took := range results {
		n := records
		if i == 0 {
			n = oursRecords
		}
		for j := range took {
			took[j] /= float64(n)
		}
	}
	b.ReportMetric(paired.Median(results[0]), "ns/record")
	for i, name := range names {
		ratio := paired.Ratio(results[i+1], results[0], 1)
		b.ReportMetric(ratio.Mid, name)
		b.ReportMetric(ratio.Low, "low-"+name)
		b.ReportMetric(ratio.High, "high-"+name)
	}
}

// BenchmarkAdd is an interval's tally of 10,000 records, into the open bucket; the file is not touched.
func BenchmarkAdd(b *testing.B) {
	s := open(b, store.Options{Path: newPath(b)})
	records, _ := newBusy(perBucket, 1).next()
	b.ReportAllocs()
	for b.Loop() {
		add(b, s, noon, records)
	}
}

// BenchmarkWrite is a bucket of 10,000 records written, synced and checkpointed.
func BenchmarkWrite(b *testing.B) {
	s := open(b, store.Options{Path: newPath(b), Retention: 10 * bucket})
	records, _ := newBusy(perBucket, 1).next()
	b.ReportAllocs()
	at := noon
	for b.Loop() {
		add(b, s, at, records)
		at = at.Add(bucket)
	}
}
