package store

import (
	"net/netip"
	"socktally/record"
	"socktally/store/chunk"
	"time"
)

const (
	bucketSeconds = 300
	// maxIdentities is the highest number of different flows in a bucket, and of different DNS queries.
	maxIdentities = 100_000
)

// bucketOf returns the start, in Unix seconds, of the bucket that contains a time.
func bucketOf(at time.Time) int64 {
	s := at.Unix()
	return s - (s%bucketSeconds+bucketSeconds)%bucketSeconds
}

// ends are the two endpoints of a record. An owner is its number in the bucket's owners.
type ends struct {
	client, server           netip.Addr
	clientOwner, serverOwner uint32
	clientPort, serverPort   uint16
}

// flowKey is a flow's record without its counters. A string is its number in the bucket's strings.
type flowKey struct {
	ends
	protocol, family, source, direction, domain uint32
}

// dnsKey is a DNS record without its counts.
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
	// folded counts the records that came when the bucket was full. They are added up without their endpoints.
	folded uint64
	schema *chunk.Schema
	// chunks is the encoded bucket. It is nil again after a record is added.
	chunks []stored
}

func newBucket(start int64, schema *chunk.Schema) *bucket {
	return &bucket{start: start, flows: map[flowKey]*record.Counters{}, dns: map[dnsKey]*record.DNSCounts{}, schema: schema}
}

func (b *bucket) empty() bool { return len(b.flows)+len(b.dns) == 0 }

// add adds up records. It copies what it keeps, so the caller may change the records afterwards.
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

// stringNumber returns the function that numbers strings. In a full bucket that function adds no new strings, because
// a new string can only belong to a record that has no room.
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
