package store

import (
	"reflect"
	"runtime"
	"testing"
	"time"

	"socktally/dns"
	"socktally/flows"
)

// TestCountersAreComplete fails when a record gets a counter that the store would lose.
func TestCountersAreComplete(t *testing.T) {
	var c flows.Counters
	if n := reflect.TypeOf(c).NumField(); n != len(counterFields(&c))+2 {
		t.Errorf("flows.Counters has %d fields, of which the store keeps %d and two that may be nil", n, len(counterFields(&c)))
	}
	var q dns.Counts
	if n := reflect.TypeOf(q).NumField(); n != len(countFields(&q))+2 {
		t.Errorf("dns.Counts has %d fields, of which the store keeps %d and two latencies", n, len(countFields(&q)))
	}
	for _, c := range []struct {
		of     any
		fields int
	}{{flows.Record{}, 8}, {flows.DNSRecord{}, 6}, {flows.Endpoint{}, 3}, {flows.Owner{}, 11}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.fields {
			t.Errorf("%T has %d fields, the store knows %d", c.of, n, c.fields)
		}
	}
}

func someChunks() []chunk {
	b := newBucket(0)
	one := uint64(1)
	for i := range 30 {
		owner := flows.Owner{PID: uint32(i / 10), Service: "web", Tags: []string{"team:core"}}
		r := flows.Record{Protocol: "tcp", Family: "ipv6", Direction: flows.Local, Client: flows.Endpoint{Owner: owner}, ServerDomain: "a.invalid"}
		r.Server.Port, r.Retransmits, r.RTOCount, r.BytesSentByClient = uint16(i), uint64(i/20), &one, uint64(i)<<30
		q := flows.DNSRecord{Name: "a.invalid", Type: "A", Client: flows.Endpoint{Owner: owner, Port: uint16(i)}}
		q.SuccessLatency.Add(time.Millisecond)
		b.add([]flows.Record{r}, []flows.DNSRecord{q})
	}
	return b.encode()
}

// TestChangedChunks: no chunk with a byte changed or cut off is taken for whole.
func TestChangedChunks(t *testing.T) {
	var d decoder
	read := func(c chunk, payload []byte) error {
		if c.kind == kindFlows {
			return d.flows(payload, func(*flows.Record) error { t.Error("a damaged chunk has records"); return nil })
		}
		return d.dns(payload, func(*flows.DNSRecord) error { t.Error("a damaged chunk has records"); return nil })
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
			d.queries(func(r *flows.DNSRecord) error { records++; return nil })
		} else {
			d.connections(func(r *flows.Record) error { records++; return nil })
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
