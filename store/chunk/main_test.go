package chunk

import (
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"socktally/record"
)

func ours() *Schema { return NewSchema(record.Fields(), record.DNSFields()) }

// payload is a chunk, and what its records are.
type payload struct {
	bytes []byte
	isDNS bool
}

// examples are a chunk of flows and one of DNS, with columns of all forms.
func examples() []payload {
	var flows []record.Flow
	var queries []record.DNS
	for i := range 30 {
		owner := record.Owner{PID: uint32(i / 10), Service: "web", Tags: []string{"team:core"}}
		r := record.Flow{Protocol: "tcp", Family: "ipv6", Direction: record.Local, Client: record.Endpoint{Owner: owner}, ServerDomain: "a.invalid"}
		r.Server.Port, r.Retransmits, r.RTOCount, r.Known, r.BytesSentByClient = uint16(i), uint64(i/20), 1, record.KnowsRTOCount, uint64(i)<<30
		r.Server.Addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		q := record.DNS{Name: "a.invalid", Type: "A", Direction: record.Outgoing, Client: record.Endpoint{Owner: owner, Port: uint16(i)}}
		q.SuccessLatency.Add(time.Millisecond)
		flows, queries = append(flows, r), append(queries, q)
	}
	e := NewEncoder(ours())
	return []payload{{e.Flows(pointers(flows)), false}, {e.DNS(pointers(queries)), true}}
}

func pointers[R any](records []R) func(func(*R) bool) {
	return func(yield func(*R) bool) {
		for i := range records {
			if !yield(&records[i]) {
				return
			}
		}
	}
}

// layout1 are chunks as programs wrote them that knew no other layout.
func layout1(t testing.TB) []payload {
	t.Helper()
	db, err := sql.Open("sqlite", "file:../testdata/layout1.db?mode=ro&immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT payload, kind = 2 FROM chunk")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []payload
	for rows.Next() {
		var p payload
		if err := rows.Scan(&p.bytes, &p.isDNS); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil || len(all) < 6 || all[0].bytes[0] != 1 {
		t.Fatalf("%d chunks; %v", len(all), err)
	}
	return all
}

// read returns the records of a chunk as text.
func read(s *Schema, p payload) (text []string, err error) {
	d := NewDecoder(s)
	if p.isDNS {
		err = d.DNS(p.bytes, func(r *record.DNS) error { text = append(text, fmt.Sprintf("%+v", *r)); return nil })
	} else {
		err = d.Flows(p.bytes, func(r *record.Flow) error { text = append(text, fmt.Sprintf("%+v", *r)); return nil })
	}
	return text, err
}

// flowsOf returns copies of the flows of a chunk.
func flowsOf(t *testing.T, s *Schema, b []byte) []record.Flow {
	t.Helper()
	var all []record.Flow
	err := NewDecoder(s).Flows(b, func(r *record.Flow) error {
		kept := *r
		kept.Client.Owner.Tags, kept.Server.Owner.Tags = slices.Clone(r.Client.Owner.Tags), slices.Clone(r.Server.Owner.Tags)
		all = append(all, kept)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// count reads a chunk and returns how many records it has.
func count(b []byte, isDNS bool) (n int, err error) {
	d := NewDecoder(ours())
	if isDNS {
		err = d.DNS(b, func(*record.DNS) error { n++; return nil })
	} else {
		err = d.Flows(b, func(*record.Flow) error { n++; return nil })
	}
	return n, err
}
