package store

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"socktally/record"
	"socktally/store/chunk"
)

// TestBucketIsComplete fails when a record gets a member that a bucket would not tell apart.
func TestBucketIsComplete(t *testing.T) {
	for _, c := range []struct {
		of     any
		fields int
	}{{record.Flow{}, 8}, {record.DNS{}, 7}, {record.Endpoint{}, 3}} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.fields {
			t.Errorf("%T has %d fields, a bucket's keys know %d", c.of, n, c.fields)
		}
	}
}

// The counters of an older program, and of a newer one with three more. Not every kernel has one of these. The older
// program does not keep the three.
func schemas() (older, newer *chunk.Schema) {
	kept := slices.DeleteFunc(record.Fields(), func(f record.Field[record.Counters]) bool {
		return f.Name == "tcp_resets" || f.Name == "tcp_recovery_count"
	})
	keptDNS := slices.DeleteFunc(record.DNSFields(), func(f record.Field[record.DNSCounts]) bool { return f.Name == "dns_timeouts" })
	added := append(slices.Clone(kept),
		record.Field[record.Counters]{Name: "tcp_added", Of: func(c *record.Counters) *uint64 { return &c.Resets }},
		record.Field[record.Counters]{Name: "tcp_added_optional", Optional: record.KnowsRecoveryCount, Of: func(c *record.Counters) *uint64 { return &c.RecoveryCount }})
	addedDNS := append(slices.Clone(keptDNS),
		record.Field[record.DNSCounts]{Name: "dns_added", Of: func(c *record.DNSCounts) *uint64 { return &c.Timeouts }})
	return chunk.NewSchema(kept, keptDNS), chunk.NewSchema(added, addedDNS)
}

// TestCounterIsAdded: a counter that is added to the list reaches the file and comes back, an older program reads all
// else, and what that one wrote has zero for it.
func TestCounterIsAdded(t *testing.T) {
	older, newer := schemas()
	flow := record.Flow{Protocol: "tcp", Direction: record.Local, ServerDomain: "a.invalid"}
	flow.Client.Owner = record.Owner{PID: 7, Service: "web"}
	flow.BytesSentByClient, flow.Resets, flow.RTOCount, flow.RecoveryCount = 1, 2, 3, 4
	flow.Known = record.KnowsRTOCount | record.KnowsRecoveryCount
	query := record.DNS{Name: "a.invalid", Direction: record.Incoming, DNSCounts: record.DNSCounts{Requests: 5, Timeouts: 6}}
	oldFlow, oldQuery := flow, query
	oldFlow.Resets, oldFlow.RecoveryCount, oldFlow.Known, oldQuery.Timeouts = 0, 0, record.KnowsRTOCount, 0

	at := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name           string
		writer, reader *chunk.Schema
		flow           record.Flow
		query          record.DNS
	}{
		{"newer to newer", newer, newer, flow, query},
		{"newer to older", newer, older, oldFlow, oldQuery},
		{"older to newer", older, newer, oldFlow, oldQuery},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			s := openWith(t, path, c.writer)
			if err := s.Add(at, []record.Flow{flow}, []record.DNS{query}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openWith(t, path, c.reader)
			flows, queries := 0, 0
			err := s.Connections(context.Background(), at, at.Add(1), func(r *record.Flow) error {
				if flows++; r.Counters != c.flow.Counters || r.ServerDomain != c.flow.ServerDomain || r.Direction != record.Local ||
					r.Client.Owner.PID != 7 || r.Client.Owner.Service != "web" {
					t.Errorf("got\n%+v\nwant\n%+v", *r, c.flow)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			err = s.DNS(context.Background(), at, at.Add(1), func(r *record.DNS) error {
				if queries++; r.Requests != 5 || r.Timeouts != c.query.Timeouts || r.Name != "a.invalid" || r.Direction != record.Incoming {
					t.Errorf("got\n%+v\nwant\n%+v", *r, c.query)
				}
				return nil
			})
			if err != nil || flows != 1 || queries != 1 || s.Stats().DamagedChunks > 0 {
				t.Errorf("%d flows, %d queries, %v; %+v", flows, queries, err, s.Stats())
			}
		})
	}
}

func openWith(t *testing.T, path string, schema *chunk.Schema) *Store {
	t.Helper()
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.schema = schema
	return s
}

// TestNewerChunk: a chunk of a layout that this program does not know is refused, and neither skipped nor counted as
// damaged.
func TestNewerChunk(t *testing.T) {
	s := openWith(t, filepath.Join(t.TempDir(), "store.db"), chunk.NewSchema(record.Fields(), record.DNSFields()))
	at := time.Unix(1_800_000_000, 0)
	if err := s.Add(at, []record.Flow{{Protocol: "tcp"}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(at.Add(time.Hour), nil, nil); err != nil {
		t.Fatal(err)
	}
	newer := []byte{200, 0, 0, 0, 0, 1, 2, 3}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(newer[1:], crc32.Update(crc32.Checksum(newer[:1], castagnoli), castagnoli, newer[5:]))
	if _, err := s.file.writer.Exec("UPDATE chunk SET payload = ?", newer); err != nil {
		t.Fatal(err)
	}
	err := s.Connections(context.Background(), at, at.Add(1), func(*record.Flow) error { t.Error("it has a record"); return nil })
	if !errors.Is(err, ErrNewer) || !errors.Is(err, chunk.ErrNewer) || !strings.Contains(err.Error(), "200") || s.Stats().DamagedChunks > 0 {
		t.Errorf("%v; %+v", err, s.Stats())
	}
}
