package store

import (
	"encoding/binary"
	"net/netip"
	"socktally/record"
)

// maxInterned bounds the strings that a decoder keeps from one chunk to the next.
const maxInterned = 10_000

// decoder reads chunks, and reuses its memory for each. Strings are whole and may be kept; all else of
// a record is good until the next.
type decoder struct {
	interned map[string]string
	strings  []string
	addrs    []netip.Addr
	owners   []record.Owner
	tags     []string
	values   []uint64 // column by column
	columns  [][]uint64
	same     []bool // which columns have one value in all records
	records  int
	rest     []byte // what is not read yet
	bad      bool   // rest ended early

	flow  record.Flow
	query record.DNS
}

// open reads all of a payload but latencies. The strings columns that follow those of the endpoints
// hold strings.
func (d *decoder) open(payload []byte, columns, strings int) error {
	if len(payload) < headerSize || payload[0] != chunkVersion ||
		binary.LittleEndian.Uint32(payload[1:]) != checksum(payload[headerSize:]) {
		return errDamaged
	}
	return d.body(payload[headerSize:], columns, strings)
}

// body does what open does for bytes of which no checksum says that they are ours.
func (d *decoder) body(b []byte, columns, strings int) error {
	d.rest, d.bad = b, false
	n := d.uvarint()
	if d.bad || n == 0 || n > maxChunkRecords {
		return errDamaged
	}
	d.records = int(n)
	d.readStrings()
	d.readAddrs()
	d.readOwners()
	d.readColumns(columns)
	if d.bad {
		return errDamaged
	}
	d.below(0, len(d.owners))
	d.below(1, len(d.owners))
	d.below(2, len(d.addrs))
	d.below(3, len(d.addrs))
	d.below(4, 1<<16)
	d.below(5, 1<<16)
	for i := range strings {
		d.below(endColumns+i, len(d.strings))
	}
	if d.bad {
		return errDamaged
	}
	return nil
}

// below checks that all values of a column are.
func (d *decoder) below(column, limit int) {
	values := d.columns[column]
	if d.same[column] {
		values = values[:1]
	}
	for _, v := range values {
		if v >= uint64(limit) {
			d.bad = true
		}
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.rest, d.bad = nil, true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads how many things follow, of a byte or more each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.rest, d.bad = nil, true
		return 0
	}
	return int(n)
}

// bytes reads a length and as many bytes.
func (d *decoder) bytes() []byte {
	n := d.count()
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) readStrings() {
	if d.interned == nil || len(d.interned) > maxInterned {
		d.interned = make(map[string]string)
	}
	d.strings = d.strings[:0]
	for range d.count() {
		if d.bad {
			return
		}
		b := d.bytes()
		s, found := d.interned[string(b)] // no copy is made
		if !found {
			s = string(b)
			d.interned[s] = s
		}
		d.strings = append(d.strings, s)
	}
}

// string returns the string of a number that is read next.
func (d *decoder) string() string {
	n := d.uvarint()
	if n >= uint64(len(d.strings)) {
		d.bad = true
		return ""
	}
	return d.strings[n]
}

func (d *decoder) readAddrs() {
	d.addrs = d.addrs[:0]
	for range d.count() {
		if d.bad {
			return
		}
		var a netip.Addr
		if err := a.UnmarshalBinary(d.bytes()); err != nil {
			d.bad = true
		}
		d.addrs = append(d.addrs, a)
	}
}

func (d *decoder) readOwners() {
	d.owners, d.tags = d.owners[:0], d.tags[:0]
	for range d.count() {
		if d.bad {
			return
		}
		var o record.Owner
		o.PID, o.CgroupID, o.NetNS = uint32(d.uvarint()), d.uvarint(), uint32(d.uvarint())
		for _, s := range [...]*string{&o.Process, &o.Service, &o.Env, &o.Version, &o.Cgroup, &o.ContainerID, &o.PodUID} {
			*s = d.string()
		}
		from := len(d.tags)
		for range d.count() {
			d.tags = append(d.tags, d.string())
		}
		if len(d.tags) > from {
			o.Tags = d.tags[from:len(d.tags):len(d.tags)]
		}
		d.owners = append(d.owners, o)
	}
}

func (d *decoder) readColumns(columns int) {
	if d.values == nil {
		d.values = make([]uint64, flowColumns*chunkRecords)
	}
	if need := columns * d.records; len(d.values) < need {
		d.values = make([]uint64, need)
	}
	d.columns, d.same = d.columns[:0], d.same[:0]
	for i := range columns {
		if len(d.rest) == 0 {
			d.bad = true
			return
		}
		form := d.rest[0]
		d.rest = d.rest[1:]
		into := d.values[i*d.records : (i+1)*d.records]
		same, err := decodeColumn(into, form, d.bytes())
		if err != nil {
			d.bad = true
			return
		}
		d.columns, d.same = append(d.columns, into), append(d.same, same)
	}
}

// moved says whether the value of a column is another than that of the record before.
func (d *decoder) moved(column, at int) bool {
	if at == 0 {
		return true
	}
	values := d.columns[column]
	return !d.same[column] && values[at] != values[at-1]
}

// ends sets the endpoints of a record, where they are others than those of the record before.
func (d *decoder) ends(at int, client, server *record.Endpoint) {
	for i, e := range [...]*record.Endpoint{client, server} {
		if d.moved(i, at) {
			e.Owner = d.owners[d.columns[i][at]]
		}
		e.Addr = d.addrs[d.columns[2+i][at]]
		e.Port = uint16(d.columns[4+i][at])
	}
}

// text sets the strings that the columns after those of the endpoints number.
func (d *decoder) text(at int, into []*string) {
	for i, s := range into {
		if d.moved(endColumns+i, at) {
			*s = d.strings[d.columns[endColumns+i][at]]
		}
	}
}

// counters sets numbers from the columns that begin at first. Those that do not change are set once.
func (d *decoder) counters(at, first int, into []*uint64) {
	for i, n := range into {
		if at == 0 || !d.same[first+i] {
			*n = d.columns[first+i][at]
		}
	}
}

// flows hands the records of one chunk to yield. It returns what yield returns, or errDamaged before
// any record is out.
func (d *decoder) flows(payload []byte, yield func(*record.Flow) error) error {
	if err := d.open(payload, flowColumns, 5); err != nil {
		return err
	}
	return d.connections(yield)
}

func (d *decoder) connections(yield func(*record.Flow) error) error {
	r := &d.flow
	*r = record.Flow{}
	text := [...]*string{&r.Protocol, &r.Family, (*string)(&r.Source), (*string)(&r.Direction), &r.ServerDomain}
	counters := counterFields(&r.Counters)
	const known = endColumns + len(text) + len(counters)
	for i := range d.records {
		d.ends(i, &r.Client, &r.Server)
		d.text(i, text[:])
		d.counters(i, endColumns+len(text), counters[:])
		r.Known, r.RTOCount, r.RecoveryCount = record.Known(d.columns[known][i]), d.columns[known+1][i], d.columns[known+2][i]
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// dns does for DNS what flows does. Latencies that are damaged, which the checksum all but excludes,
// end a chunk early.
func (d *decoder) dns(payload []byte, yield func(*record.DNS) error) error {
	if err := d.open(payload, dnsColumns, 3); err != nil {
		return err
	}
	return d.queries(yield)
}

func (d *decoder) queries(yield func(*record.DNS) error) error {
	r := &d.query
	text := [...]*string{&r.Protocol, &r.Name, &r.Type}
	counts := countFields(&r.DNSCounts)
	for i := range d.records {
		d.ends(i, &r.Client, &r.Server)
		d.text(i, text[:])
		d.counters(i, endColumns+len(text), counts[:])
		for _, l := range [...]*record.Latency{&r.SuccessLatency, &r.FailureLatency} {
			if err := l.UnmarshalBinary(d.bytes()); err != nil || d.bad {
				return errDamaged
			}
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}
