package store

import (
	"cmp"
	"iter"
	"slices"
	"socktally/record"
	"socktally/store/chunk"
)

// kind says which records a chunk has.
type kind byte

const (
	kindFlows kind = 1
	kindDNS   kind = 2
)

// stored is a chunk with records of one bucket and one kind. The payload never changes.
type stored struct {
	start   int64 // of the bucket
	kind    kind
	records int
	payload []byte
}

// entry is one key of a bucket with its sum.
type entry[K, C any] struct {
	key      K
	counters *C
}

// encode returns the bucket's chunks. It sorts the records by owner: then a column has long runs of equal values, and
// a chunk has few owners.
func (b *bucket) encode() []stored {
	if b.chunks != nil {
		return b.chunks
	}
	e := chunk.NewEncoder(b.schema)
	connections := make([]entry[flowKey, record.Counters], 0, len(b.flows))
	for k, c := range b.flows {
		connections = append(connections, entry[flowKey, record.Counters]{k, c})
	}
	slices.SortFunc(connections, func(a, b entry[flowKey, record.Counters]) int {
		x, y := &a.key, &b.key
		return cmp.Or(compareEnds(&x.ends, &y.ends), cmp.Compare(x.domain, y.domain))
	})
	for entries := range slices.Chunk(connections, chunk.Records) {
		b.chunks = append(b.chunks, stored{b.start, kindFlows, len(entries), e.Flows(b.flowRecords(entries))})
	}
	queries := make([]entry[dnsKey, record.DNSCounts], 0, len(b.dns))
	for k, c := range b.dns {
		queries = append(queries, entry[dnsKey, record.DNSCounts]{k, c})
	}
	slices.SortFunc(queries, func(a, b entry[dnsKey, record.DNSCounts]) int {
		x, y := &a.key, &b.key
		return cmp.Or(compareEnds(&x.ends, &y.ends), cmp.Compare(x.name, y.name), cmp.Compare(x.qtype, y.qtype))
	})
	for entries := range slices.Chunk(queries, chunk.Records) {
		b.chunks = append(b.chunks, stored{b.start, kindDNS, len(entries), e.DNS(b.dnsRecords(entries))})
	}
	return b.chunks
}

func compareEnds(x, y *ends) int {
	return cmp.Or(
		cmp.Compare(x.clientOwner, y.clientOwner), cmp.Compare(x.serverOwner, y.serverOwner),
		x.server.Compare(y.server), cmp.Compare(x.serverPort, y.serverPort),
		x.client.Compare(y.client), cmp.Compare(x.clientPort, y.clientPort),
	)
}

// flowRecords returns the records of some entries. A record is valid until the next one.
func (b *bucket) flowRecords(entries []entry[flowKey, record.Counters]) iter.Seq[*record.Flow] {
	return func(yield func(*record.Flow) bool) {
		var r record.Flow
		var before *ends
		text := b.strings.Values
		for i := range entries {
			k := &entries[i].key
			b.setEnds(&r.Client, &r.Server, &k.ends, before)
			r.Protocol, r.Family, r.ServerDomain = text[k.protocol], text[k.family], text[k.domain]
			r.Source, r.Direction = record.Source(text[k.source]), record.Direction(text[k.direction])
			r.Counters = *entries[i].counters
			if !yield(&r) {
				return
			}
			before = &k.ends
		}
	}
}

// dnsRecords is flowRecords for DNS records.
func (b *bucket) dnsRecords(entries []entry[dnsKey, record.DNSCounts]) iter.Seq[*record.DNS] {
	return func(yield func(*record.DNS) bool) {
		var r record.DNS
		var before *ends
		text := b.strings.Values
		for i := range entries {
			k := &entries[i].key
			b.setEnds(&r.Client, &r.Server, &k.ends, before)
			r.Protocol, r.Direction = text[k.protocol], record.Direction(text[k.direction])
			r.Name, r.Type = text[k.name], text[k.qtype]
			r.DNSCounts = *entries[i].counters
			if !yield(&r) {
				return
			}
			before = &k.ends
		}
	}
}

// setEnds sets two endpoints to those of k. If before is not nil, the endpoints are now those of before. An owner is
// copied only if it is another one than before, because owners are large and most are the same.
func (b *bucket) setEnds(client, server *record.Endpoint, k, before *ends) {
	client.Addr, client.Port, server.Addr, server.Port = k.client, k.clientPort, k.server, k.serverPort
	if before == nil || before.clientOwner != k.clientOwner {
		client.Owner = b.owners.Values[k.clientOwner]
	}
	if before == nil || before.serverOwner != k.serverOwner {
		server.Owner = b.owners.Values[k.serverOwner]
	}
}
