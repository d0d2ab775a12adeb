package store

import (
	"reflect"
	"runtime"
	"socktally/record"
	"testing"
	"time"
)

// TestCountersAreComplete fails when a record gets a counter that the store would lose.
func TestCountersAreComplete(t *testing.T) {
	var c record.Counters
	if n := reflect.TypeOf(c).NumField(); n != len(counterFields(&c))+2 {
		t.Errorf("flows.Counters has %d fields, of which the store keeps %d and two that may be nil", n, len(counterFields(&c)))
	}
	var q record.DNSCounts
	if n := reflect.TypeOf(q).NumField(); n != len(countFields(&q))+2 {
		t.Errorf("dns.DNSCounts has %d fields, of which the store keeps %d and two latencies", n, len(countFields(&q)))
	}
	for _, c := range []struct {
		of     any
		fields int
	}{{record.Flow{}, 8}, {record.DNS{}, 6}, {record.Endpoint{}, 3}, {record.Owner{}, 11}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.fields {
			t.Errorf("%T has %d fields, the store knows %d", c.of, n, c.fields)
		}
	}
}

func someChunks() []chunk {
	b := newBucket(0)
	for i := range 30 {
		owner := record.Owner{PID: uint32(i / 10), Service: "web", Tags: []string{"team:core"}}
		r := record.Flow{Protocol: "tcp", Family: "ipv6", Direction: record.Local, Client: record.Endpoint{Owner: owner}, ServerDomain: "a.invalid"}
		r.Server.Port, r.Retransmits, r.RTOCount, r.Known, r.BytesSentByClient = uint16(i), uint64(i/20), 1, record.KnowsRTOCount, uint64(i)<<30
		q := record.DNS{Name: "a.invalid", Type: "A", Client: record.Endpoint{Owner: owner, Port: uint16(i)}}
		q.SuccessLatency.Add(time.Millisecond)
		b.add([]record.Flow{r}, []record.DNS{q})
	}
	return b.encode()
}

// TestChangedChunks: no chunk with a byte changed or cut off is taken for whole.
func TestChangedChunks(t *testing.T) {
	var d decoder
	read := func(c chunk, payload []byte) error {
		if c.kind == kindFlows {
			return d.flows(payload, func(*record.Flow) error { t.Error("a damaged chunk has records"); return nil })
		}
		return d.dns(payload, func(*record.DNS) error { t.Error("a damaged chunk has records"); return nil })
	}
	for _, c := range someChunks() {
		for i := range c.payload {
			c.payload[i] ^= 0x10
			if err := read(c, c.payload); err != errDamaged {
				t.Errorf("byte %d changed: %v", i, err)
			}
			c.payload[i] ^= 0x10
			if err := read(c, c.payload[:i]); err != errDamaged {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
	}
}

// FuzzChunk reads bytes as if their checksum were right.
func FuzzChunk(f *testing.F) {
	for _, c := range someChunks() {
		f.Add(c.payload[headerSize:], c.kind == kindDNS)
	}
	f.Add([]byte{0xff, 0x1f, 0xff, 0xff, 0x03}, false)
	f.Fuzz(func(t *testing.T, data []byte, isDNS bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var d decoder
		records, columns, text := 0, flowColumns, 5
		if isDNS {
			columns, text = dnsColumns, 2
		}
		if err := d.body(data, columns, text); err != nil {
			if err != errDamaged {
				t.Fatal(err)
			}
		} else if isDNS {
			d.queries(func(r *record.DNS) error { records++; return nil })
		} else {
			d.connections(func(r *record.Flow) error { records++; return nil })
		}
		runtime.ReadMemStats(&after)
		if records > maxChunkRecords {
			t.Fatalf("%d records", records)
		}
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+1000*len(data)); used > most {
			t.Fatalf("%d bytes of input took %d of memory", len(data), used)
		}
	})
}
