package store

import (
	"cmp"
	"iter"
	"slices"
	"socktally/record"
	"socktally/store/chunk"
)

// kind is what a chunk's records are.
type kind byte

const (
	kindFlows kind = 1
	kindDNS   kind = 2
)

// stored is a chunk of some records of one bucket and one kind. A payload is never changed.
type stored struct {
	start   int64 // of the bucket
	kind    kind
	records int
	payload []byte
}

// encode returns the bucket's chunks. Sorting by owner makes columns of runs, and few owners a chunk.
func (b *bucket) encode() []stored {
	if b.chunks != nil {
		return b.chunks
	}
	e := chunk.NewEncoder(b.schema)
	connections := make([]flowKey, 0, len(b.flows))
	for k := range b.flows {
		connections = append(connections, k)
	}
	slices.SortFunc(connections, func(x, y flowKey) int {
		return cmp.Or(compareEnds(&x.ends, &y.ends), cmp.Compare(x.domain, y.domain))
	})
	for keys := range slices.Chunk(connections, chunk.Records) {
		b.chunks = append(b.chunks, stored{b.start, kindFlows, len(keys), e.Flows(b.flowRecords(keys))})
	}
	queries := make([]dnsKey, 0, len(b.dns))
	for k := range b.dns {
		queries = append(queries, k)
	}
	slices.SortFunc(queries, func(x, y dnsKey) int {
		return cmp.Or(compareEnds(&x.ends, &y.ends), cmp.Compare(x.name, y.name), cmp.Compare(x.qtype, y.qtype))
	})
	for keys := range slices.Chunk(queries, chunk.Records) {
		b.chunks = append(b.chunks, stored{b.start, kindDNS, len(keys), e.DNS(b.dnsRecords(keys))})
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

// flowRecords are the records of some keys. A record is good until the next.
func (b *bucket) flowRecords(keys []flowKey) iter.Seq[*record.Flow] {
	return func(yield func(*record.Flow) bool) {
		var r record.Flow
		text := b.strings.Values
		for i := range keys {
			k := &keys[i]
			b.endpoints(&k.ends, &r.Client, &r.Server)
			r.Protocol, r.Family, r.ServerDomain = text[k.protocol], text[k.family], text[k.domain]
			r.Source, r.Direction = record.Source(text[k.source]), record.Direction(text[k.direction])
			r.Counters = *b.flows[*k]
			if !yield(&r) {
				return
			}
		}
	}
}

// dnsRecords does for records of DNS what flowRecords does for those of flows.
func (b *bucket) dnsRecords(keys []dnsKey) iter.Seq[*record.DNS] {
	return func(yield func(*record.DNS) bool) {
		var r record.DNS
		text := b.strings.Values
		for i := range keys {
			k := &keys[i]
			b.endpoints(&k.ends, &r.Client, &r.Server)
			r.Protocol, r.Direction = text[k.protocol], record.Direction(text[k.direction])
			r.Name, r.Type = text[k.name], text[k.qtype]
			r.DNSCounts = *b.dns[*k]
			if !yield(&r) {
				return
			}
		}
	}
}

func (b *bucket) endpoints(k *ends, client, server *record.Endpoint) {
	*client = record.Endpoint{Addr: k.client, Port: k.clientPort, Owner: b.owners.Values[k.clientOwner]}
	*server = record.Endpoint{Addr: k.server, Port: k.serverPort, Owner: b.owners.Values[k.serverOwner]}
}
