package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"slices"
	"socktally/record"
)

const (
	chunkRecords = 1000
	// maxChunkRecords is what a reader believes.
	maxChunkRecords = 4096
	chunkVersion    = 1
	headerSize      = 5 // version, checksum of all that follows
)

// kind is what a chunk's records are.
type kind byte

const (
	kindFlows kind = 1
	kindDNS   kind = 2
)

// chunk is some records of one bucket and one kind. A payload is never changed.
type chunk struct {
	start   int64 // of the bucket
	kind    kind
	records int
	payload []byte
}

var errDamaged = errors.New("chunk is damaged")

// columnCount is how many columns a chunk has: those of both endpoints, and those of its kind.
const (
	endColumns  = 6
	flowColumns = endColumns + 5 + 16 + 3
	dnsColumns  = endColumns + 3 + 6
)

// encoder makes the chunks of one bucket. A payload is: version, checksum, number of records, strings,
// addresses, owners, columns, latencies. All numbers are varints.
type encoder struct {
	bucket    *bucket
	strings   dictionary[string]
	addrs     dictionary[netip.Addr]
	owners    dictionary[uint32] // of the bucket's numbers
	columns   [flowColumns][]uint64
	column    int    // that put fills next
	latencies []byte // each after its length
	latency   []byte
	table     []byte
	address   []byte
	scratch   []byte
	records   int
}

func (e *encoder) begin() {
	e.strings.reset()
	e.addrs.reset()
	e.owners.reset()
	for i := range e.columns {
		e.columns[i] = e.columns[i][:0]
	}
	e.latencies, e.records = e.latencies[:0], 0
}

// put gives the next column its value of this record.
func (e *encoder) put(v uint64) {
	e.columns[e.column] = append(e.columns[e.column], v)
	e.column++
}

func (e *encoder) putString(n uint32) {
	e.put(uint64(e.strings.number(e.bucket.strings.values[n])))
}

func (e *encoder) putEnds(k *ends) {
	e.column = 0
	e.put(uint64(e.owners.number(k.clientOwner)))
	e.put(uint64(e.owners.number(k.serverOwner)))
	e.put(uint64(e.addrs.number(k.client)))
	e.put(uint64(e.addrs.number(k.server)))
	e.put(uint64(k.clientPort))
	e.put(uint64(k.serverPort))
	e.records++
}

// payload returns the chunk of all that was put since begin.
func (e *encoder) payload(columns int) []byte {
	// Owners come first here: they add strings.
	e.table = binary.AppendUvarint(e.table[:0], uint64(len(e.owners.values)))
	for _, n := range e.owners.values {
		e.table = e.appendOwner(e.table, &e.bucket.owners[n])
	}
	b := append(e.scratch[:0], chunkVersion, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, uint64(e.records))
	b = binary.AppendUvarint(b, uint64(len(e.strings.values)))
	for _, s := range e.strings.values {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(e.addrs.values)))
	for _, a := range e.addrs.values {
		form, _ := a.AppendBinary(e.address[:0]) // fails for no address
		b = append(binary.AppendUvarint(b, uint64(len(form))), form...)
		e.address = form
	}
	b = append(b, e.table...)
	for _, c := range e.columns[:columns] {
		b = e.appendColumn(b, c)
	}
	b = append(b, e.latencies...)
	e.scratch = b
	binary.LittleEndian.PutUint32(b[1:], checksum(b[headerSize:]))
	return slices.Clone(b)
}

func (e *encoder) appendOwner(b []byte, o *record.Owner) []byte {
	for _, n := range [...]uint64{uint64(o.PID), o.CgroupID, uint64(o.NetNS)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range [...]string{o.Process, o.Service, o.Env, o.Version, o.Cgroup, o.ContainerID, o.PodUID} {
		b = binary.AppendUvarint(b, uint64(e.strings.number(s)))
	}
	b = binary.AppendUvarint(b, uint64(len(o.Tags)))
	for _, s := range o.Tags {
		b = binary.AppendUvarint(b, uint64(e.strings.number(s)))
	}
	return b
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
