package store

import (
	"cmp"
	"encoding/binary"
	"slices"
	"socktally/record"
)

// encode returns the bucket's chunks. Sorting by owner makes columns of runs, and few owners a chunk.
func (b *bucket) encode() []chunk {
	if b.chunks != nil {
		return b.chunks
	}
	e := &encoder{bucket: b}
	connections := make([]flowKey, 0, len(b.flows))
	for k := range b.flows {
		connections = append(connections, k)
	}
	slices.SortFunc(connections, func(x, y flowKey) int {
		return cmp.Or(compareEnds(&x.ends, &y.ends), cmp.Compare(x.domain, y.domain))
	})
	for keys := range slices.Chunk(connections, chunkRecords) {
		b.chunks = append(b.chunks, chunk{b.start, kindFlows, len(keys), e.flows(keys)})
	}
	queries := make([]dnsKey, 0, len(b.dns))
	for k := range b.dns {
		queries = append(queries, k)
	}
	slices.SortFunc(queries, func(x, y dnsKey) int {
		return cmp.Or(compareEnds(&x.ends, &y.ends), cmp.Compare(x.name, y.name), cmp.Compare(x.qtype, y.qtype))
	})
	for keys := range slices.Chunk(queries, chunkRecords) {
		b.chunks = append(b.chunks, chunk{b.start, kindDNS, len(keys), e.dns(keys)})
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

func (e *encoder) flows(keys []flowKey) []byte {
	e.begin()
	for i := range keys {
		k := &keys[i]
		e.putEnds(&k.ends)
		for _, n := range [...]uint32{k.protocol, k.family, k.source, k.direction, k.domain} {
			e.putString(n)
		}
		c := e.bucket.flows[*k]
		for _, n := range counterFields(c) {
			e.put(*n)
		}
		e.put(uint64(c.Known))
		e.put(c.RTOCount)
		e.put(c.RecoveryCount)
	}
	return e.payload(flowColumns)
}

func (e *encoder) dns(keys []dnsKey) []byte {
	e.begin()
	for i := range keys {
		k := &keys[i]
		e.putEnds(&k.ends)
		for _, n := range [...]uint32{k.protocol, k.name, k.qtype} {
			e.putString(n)
		}
		c := e.bucket.dns[*k]
		for _, n := range countFields(c) {
			e.put(*n)
		}
		for _, l := range [...]*record.Latency{&c.SuccessLatency, &c.FailureLatency} {
			e.latency, _ = l.AppendBinary(e.latency[:0]) // it does not fail
			e.latencies = append(binary.AppendUvarint(e.latencies, uint64(len(e.latency))), e.latency...)
		}
	}
	return e.payload(dnsColumns)
}
