package chunk

import (
	"encoding/binary"
	"math"
	"net/netip"
	"reflect"
	"socktally/record"
	"strings"
)

// table reads the rows of its columns into one record, one row after the other.
type table struct {
	cells   []cell
	byName  map[string]*cell
	rows    int
	numbers []uint64 // of all cells
	varying []*cell  // cells whose value may change from row to row
}

// cell is a member of the table's record, with its column.
type cell struct {
	member  any // a pointer as column.of returns it
	present bool
	numbers []uint64 // one for each row, or only one if all rows have the same
	blobs   []byte   // not read yet, each after its length
}

func newTable[R any](r *R, columns []column[R]) *table {
	t := &table{cells: make([]cell, len(columns)), byName: make(map[string]*cell, len(columns))}
	for i, c := range columns {
		t.cells[i] = cell{member: c.of(r)}
		t.byName[c.name] = &t.cells[i]
	}
	return t
}

// begin gives all cells room for the rows.
func (t *table) begin(rows int) {
	t.rows = rows
	if need := rows * len(t.cells); len(t.numbers) < need {
		t.numbers = make([]uint64, need)
	}
	for i := range t.cells {
		c := &t.cells[i]
		c.present, c.numbers = false, t.numbers[i*rows:i*rows:(i+1)*rows]
	}
}

// readTable reads a table. It must have at most as many rows as most says. Unknown columns are skipped.
func (d *Decoder) readTable(t *table, most int) {
	n := d.uvarint()
	if n > uint64(most) {
		d.fail()
		n = 0
	}
	t.begin(int(n))
	for range d.count() {
		c := t.byName[string(d.bytes())] // no copy is made
		if c == nil {
			d.next(1)
			d.bytes()
		} else {
			d.readColumn(c, t.rows)
		}
		if d.bad {
			return
		}
	}
	d.start(t)
}

// start sets members without a column to zero and members with the same value in all rows to that value. It lists the
// others in varying.
func (d *Decoder) start(t *table) {
	t.varying = t.varying[:0]
	for i := range t.cells {
		switch c := &t.cells[i]; {
		case !c.present:
			reflect.ValueOf(c.member).Elem().SetZero()
		case t.rows == 0:
		case c.holdsBlobs() || len(c.numbers) > 1:
			t.varying = append(t.varying, c)
		default:
			d.set(c, 0)
		}
	}
}

func (c *cell) holdsBlobs() bool {
	switch c.member.(type) {
	case *[]string, *record.Latency:
		return true
	}
	return false
}

func (d *Decoder) readColumn(c *cell, rows int) {
	if c.present { // the same column a second time
		d.fail()
		return
	}
	c.present = true
	if !c.holdsBlobs() {
		c.numbers = d.numbers(c.numbers, rows)
		d.check(c)
		return
	}
	form := d.next(1)
	c.blobs = d.bytes()
	if d.bad || form[0] != blobs {
		d.fail()
		return
	}
	left := c.blobs
	for range rows {
		n, size := binary.Uvarint(left)
		if size <= 0 || n > uint64(len(left)-size) {
			d.fail()
			return
		}
		left = left[size+int(n):]
	}
	if len(left) > 0 {
		d.fail()
	}
}

// check checks that each number of a column fits into its member, or is the number of a text, address or owner that the
// chunk has.
func (d *Decoder) check(c *cell) {
	below := uint64(math.MaxUint64)
	switch c.member.(type) {
	case *uint64:
		return
	case *uint32:
		below = 1 << 32
	case *uint16:
		below = 1 << 16
	case *string, *record.Known:
		below = uint64(len(d.texts))
	case *netip.Addr:
		below = uint64(len(d.addrs))
	case *record.Owner:
		below = uint64(len(d.owners))
	}
	for _, n := range c.numbers {
		if n >= below {
			d.fail()
			return
		}
	}
}

// fill fills the table's record with the values of a row. The rows must come in order, because blobs are read one after
// the other and an unchanged value is not set again.
func (d *Decoder) fill(t *table, row int) {
	for _, c := range t.varying {
		if p, ok := c.member.(*uint64); ok { // first, because most are of this type
			*p = c.numbers[row]
		} else if row == 0 || len(c.numbers) == 0 || c.numbers[row] != c.numbers[row-1] {
			d.set(c, row)
		}
	}
}

// set sets a member to its value in a row.
func (d *Decoder) set(c *cell, row int) {
	switch p := c.member.(type) {
	case *uint64:
		*p = c.numbers[row]
	case *uint32:
		*p = uint32(c.numbers[row])
	case *uint16:
		*p = uint16(c.numbers[row])
	case *string:
		*p = d.texts[c.numbers[row]]
	case *netip.Addr:
		*p = d.addrs[c.numbers[row]]
	case *record.Owner:
		*p = d.owners[c.numbers[row]]
	case *record.Known:
		*p = d.knownOf(d.texts[c.numbers[row]])
	case *[]string:
		*p = d.list(c.nextBlob())
	case *record.Latency:
		if err := p.UnmarshalBinary(c.nextBlob()); err != nil {
			d.fail()
		}
	}
}

func (c *cell) nextBlob() []byte {
	n, size := binary.Uvarint(c.blobs)
	b := c.blobs[size : size+int(n)]
	c.blobs = c.blobs[size+int(n):]
	return b
}

// knownOf returns the set of the counters that a text names. It leaves out unknown names.
func (d *Decoder) knownOf(text string) record.Known {
	if text == "" || text == d.knownText {
		if text == "" {
			return 0
		}
		return d.known
	}
	d.knownText, d.known = text, 0
	for name := range strings.SplitSeq(text, " ") {
		for i := range d.schema.optional {
			if d.schema.optional[i].Name == name {
				d.known |= d.schema.optional[i].Optional
			}
		}
	}
	return d.known
}
