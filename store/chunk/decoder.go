package chunk

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"socktally/record"
)

// maxInterned is how many texts a decoder keeps from one chunk to the next. With more, it starts again with none.
const maxInterned = 10_000

// Decoder reads chunks. It uses the same memory for each of them: a record is valid only until the next one. Strings
// are copies and may be kept.
type Decoder struct {
	schema   *Schema
	interned map[string]string
	// In each of these, the value with number 0 is the empty one. In layout 1 it is the first of the chunk.
	texts     []string
	addrs     []netip.Addr
	owners    []record.Owner
	tags      []string // of all owners, one after the other
	lengths   []uint64
	rest      []byte    // of the chunk, not read yet
	bad       bool      // the chunk is damaged
	latencies [2][]byte // of layout 1

	flow       record.Flow
	query      record.DNS
	owner      record.Owner
	flowTable  *table // fills flow; the next two fill query and owner
	dnsTable   *table
	ownerTable *table

	// The result of the last knownOf, because most rows have the same text.
	knownText string
	known     record.Known
}

// NewDecoder returns a decoder for the columns of a schema.
func NewDecoder(s *Schema) *Decoder { return &Decoder{schema: s} }

// Flows calls yield for each record of one chunk, until yield fails. It returns the error of yield. If it returns
// ErrDamaged or ErrNewer, it has not called yield.
func (d *Decoder) Flows(payload []byte, yield func(*record.Flow) error) error {
	if d.flowTable == nil {
		d.flowTable = newTable(&d.flow, d.schema.flows)
	}
	if err := d.open(payload, d.flowTable, layout1Flows[:]); err != nil {
		return err
	}
	return each(d, d.flowTable, &d.flow, yield)
}

// DNS is Flows for DNS records. One error is found late: damaged latencies give ErrDamaged after some records. With a
// right checksum that hardly ever happens.
func (d *Decoder) DNS(payload []byte, yield func(*record.DNS) error) error {
	if d.dnsTable == nil {
		d.dnsTable = newTable(&d.query, d.schema.dns)
	}
	if err := d.open(payload, d.dnsTable, layout1DNS[:]); err != nil {
		return err
	}
	return each(d, d.dnsTable, &d.query, yield)
}

func each[R any](d *Decoder, t *table, r *R, yield func(*R) error) error {
	for i := range t.rows {
		if d.fill(t, i); d.bad {
			return ErrDamaged
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// open reads all columns of a chunk. names are the columns of layout 1, which does not name them itself.
func (d *Decoder) open(payload []byte, t *table, names []string) error {
	if len(payload) < headerSize {
		return ErrDamaged
	}
	version, body := payload[0], payload[headerSize:]
	sum := checksum(payload)
	if version == 1 {
		sum = layout1Checksum(payload)
	}
	switch {
	case binary.LittleEndian.Uint32(payload[1:]) != sum || version == 0:
		return ErrDamaged
	case version > layout:
		return fmt.Errorf("%w: it has layout %d, this program knows up to %d", ErrNewer, version, layout)
	case version == 1:
		return d.readLayout1(body, t, names)
	}
	return d.read(body, t)
}

// read reads the body of a chunk of layout 2. It must also work for bytes that no checksum protects.
func (d *Decoder) read(body []byte, t *table) error {
	d.begin(body)
	d.texts, d.addrs, d.owners = append(d.texts, ""), append(d.addrs, netip.Addr{}), append(d.owners, record.Owner{})
	d.readTexts()
	d.readAddrs()
	d.readOwners()
	d.readTable(t, MaxRecords)
	if d.bad || t.rows == 0 || len(d.rest) > 0 {
		return ErrDamaged
	}
	return nil
}

func (d *Decoder) begin(body []byte) {
	if d.interned == nil || len(d.interned) > maxInterned {
		d.interned = make(map[string]string)
	}
	d.rest, d.bad = body, false
	d.texts, d.addrs, d.owners, d.tags = d.texts[:0], d.addrs[:0], d.owners[:0], d.tags[:0]
}

// fail marks the chunk as damaged and drops the rest, so that all later reads return nothing.
func (d *Decoder) fail() { d.rest, d.bad = nil, true }

func (d *Decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads the number of things that follow. Each takes at least one byte, so a higher number is damage.
func (d *Decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return 0
	}
	return int(n)
}

// bytes reads a length and then that many bytes.
func (d *Decoder) bytes() []byte { return d.next(uint64(d.count())) }

// next reads n bytes.
func (d *Decoder) next(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// numbers reads a column of numbers into a slice that has room for all rows.
func (d *Decoder) numbers(into []uint64, rows int) []uint64 {
	form := d.next(1)
	data := d.bytes()
	if d.bad {
		return nil
	}
	into, err := decodeNumbers(into, rows, form[0], data)
	if err != nil {
		d.fail()
	}
	return into
}

// readLengths reads the number of texts or addresses, and their lengths. It returns the number.
func (d *Decoder) readLengths() int {
	n := d.count()
	d.lengths = d.numbers(slices.Grow(d.lengths[:0], n), n)
	if d.bad {
		return 0
	}
	return n
}

// nextOf reads the bytes of the text or address with a number. If all have the same length, lengths may have only one.
func (d *Decoder) nextOf(number int) []byte { return d.next(d.lengths[min(number, len(d.lengths)-1)]) }

func (d *Decoder) readTexts() {
	for i := range d.readLengths() {
		d.addText(d.nextOf(i))
	}
}

func (d *Decoder) addText(b []byte) {
	s, found := d.interned[string(b)] // no copy is made
	if !found {
		s = string(b)
		d.interned[s] = s
	}
	d.texts = append(d.texts, s)
}

func (d *Decoder) readAddrs() {
	for i := range d.readLengths() {
		d.addAddr(d.nextOf(i))
	}
}

func (d *Decoder) addAddr(b []byte) {
	var a netip.Addr
	if err := a.UnmarshalBinary(b); err != nil {
		d.fail()
	}
	d.addrs = append(d.addrs, a)
}

func (d *Decoder) readOwners() {
	if d.ownerTable == nil {
		d.ownerTable = newTable(&d.owner, d.schema.owners)
	}
	if d.readTable(d.ownerTable, 2*MaxRecords); d.bad {
		return
	}
	if n := len(d.owners) + d.ownerTable.rows; n > cap(d.owners) {
		d.owners = append(make([]record.Owner, 0, n), d.owners...)
	}
	for i := range d.ownerTable.rows {
		if d.fill(d.ownerTable, i); d.bad {
			return
		}
		d.owners = append(d.owners, d.owner)
	}
}

// list reads the texts whose numbers are in b.
func (d *Decoder) list(b []byte) []string {
	from := len(d.tags)
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n >= uint64(len(d.texts)) {
			d.fail()
			return nil
		}
		d.tags = append(d.tags, d.texts[n])
		b = b[size:]
	}
	if len(d.tags) == from {
		return nil
	}
	return d.tags[from:len(d.tags):len(d.tags)]
}
