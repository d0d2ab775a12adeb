package store

import (
	"net/netip"
	"socktally/record"
	"socktally/store/chunk"
	"time"
)

const (
	bucketSeconds = 300
	// maxIdentities bounds the flows, and the DNS queries, that a bucket in memory tells apart.
	maxIdentities = 100_000
)

// bucketOf is the start, in Unix seconds, of the bucket that a time is in.
func bucketOf(at time.Time) int64 {
	s := at.Unix()
	return s - (s%bucketSeconds+bucketSeconds)%bucketSeconds
}

// ends are a record's two endpoints, with owners by their number in the bucket.
type ends struct {
	client, server           netip.Addr
	clientOwner, serverOwner uint32
	clientPort, serverPort   uint16
}

// flowKey is all of a flow's record but its counters, with strings by their number in the bucket.
type flowKey struct {
	ends
	protocol, family, source, direction, domain uint32
}

// dnsKey is all of a DNS record but its counts.
type dnsKey struct {
	ends
	protocol, direction, name, qtype uint32
}

// bucket adds up the records of five minutes.
type bucket struct {
	start   int64
	flows   map[flowKey]*record.Counters
	dns     map[dnsKey]*record.DNSCounts
	strings chunk.Dictionary[string]
	owners  chunk.Owners
	// folded counts the records that found no room of their own.
	folded uint64
	schema *chunk.Schema
	// chunks are what a reader was given, until something is added.
	chunks []stored
}

func newBucket(start int64, schema *chunk.Schema) *bucket {
	return &bucket{start: start, flows: map[flowKey]*record.Counters{}, dns: map[dnsKey]*record.DNSCounts{}, schema: schema}
}

func (b *bucket) empty() bool { return len(b.flows)+len(b.dns) == 0 }

// add adds up records. It keeps nothing that the caller may change.
func (b *bucket) add(connections []record.Flow, queries []record.DNS) {
	if len(connections)+len(queries) > 0 {
		b.chunks = nil
	}
	for i := range connections {
		b.addFlow(&connections[i])
	}
	for i := range queries {
		b.addDNS(&queries[i])
	}
}

func (b *bucket) addFlow(r *record.Flow) {
	number := b.stringNumber(len(b.flows))
	key := flowKey{
		b.ends(&r.Client, &r.Server, len(b.flows)),
		number(r.Protocol), number(r.Family), number(string(r.Source)), number(string(r.Direction)), number(r.ServerDomain),
	}
	sum := b.flows[key]
	if sum == nil && len(b.flows) >= maxIdentities {
		b.folded++
		number = b.strings.Number
		key = flowKey{b.ends(&record.Endpoint{}, &record.Endpoint{}, 0),
			number(r.Protocol), number(""), number(string(r.Source)), number(string(r.Direction)), number("")}
		sum = b.flows[key]
	}
	if sum == nil {
		sum = new(record.Counters)
		b.flows[key] = sum
	}
	sum.Add(&r.Counters)
}

func (b *bucket) addDNS(r *record.DNS) {
	number := b.stringNumber(len(b.dns))
	key := dnsKey{
		b.ends(&r.Client, &r.Server, len(b.dns)),
		number(r.Protocol), number(string(r.Direction)), number(r.Name), number(r.Type),
	}
	sum := b.dns[key]
	if sum == nil && len(b.dns) >= maxIdentities {
		b.folded++
		number = b.strings.Number
		other := number(record.Other)
		key = dnsKey{b.ends(&record.Endpoint{}, &record.Endpoint{}, 0), number(r.Protocol), number(string(r.Direction)), other, other}
		sum = b.dns[key]
	}
	if sum == nil {
		sum = new(record.DNSCounts)
		b.dns[key] = sum
	}
	sum.Add(&r.DNSCounts)
}

// stringNumber numbers strings, new ones only where there is room for what they belong to.
func (b *bucket) stringNumber(identities int) func(string) uint32 {
	if identities >= maxIdentities {
		return b.strings.Find
	}
	return b.strings.Number
}

func (b *bucket) ends(client, server *record.Endpoint, identities int) ends {
	return ends{
		client.Addr, server.Addr, b.ownerNumber(&client.Owner, identities), b.ownerNumber(&server.Owner, identities),
		client.Port, server.Port,
	}
}

func (b *bucket) ownerNumber(o *record.Owner, identities int) uint32 {
	if identities >= maxIdentities {
		return b.owners.Find(o)
	}
	return b.owners.Number(o)
}
