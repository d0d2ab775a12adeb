package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"net/netip"
	"slices"
	"socktally/record"
	"strings"
)

const (
	// Records is how many records a writer puts into a chunk.
	Records = 1000
	// MaxRecords is how many records a chunk may have. For a reader, more are damage.
	MaxRecords = 4096

	layout = 2
	// headerSize is the size of the layout's number and the checksum. Every layout begins with these two.
	headerSize = 5
)

var (
	// ErrDamaged says that the bytes are not a whole chunk.
	ErrDamaged = errors.New("chunk is damaged")
	// ErrNewer says that a chunk has a layout that this program does not know yet.
	ErrNewer = errors.New("chunk is of a newer layout")
)

// Encoder makes chunks. It uses the same memory for each of them.
type Encoder struct {
	schema *Schema
	// In each of these, the value with number 0 is the empty one. It is not written.
	texts  Dictionary[string]
	addrs  Dictionary[netip.Addr]
	owners Owners
	known  map[record.Known]string

	flowRows  *rows[record.Flow]
	dnsRows   *rows[record.DNS]
	ownerRows *rows[record.Owner]

	addresses []byte
	buffer    []byte
	scratch   []byte
	lengths   []uint64
}

// NewEncoder returns an encoder for all columns of a schema.
func NewEncoder(s *Schema) *Encoder {
	return &Encoder{
		schema: s, known: map[record.Known]string{},
		flowRows: newRows(s.flows), dnsRows: newRows(s.dns), ownerRows: newRows(s.owners),
	}
}

// Flows returns the chunk of some records. There must be at least one, and at most MaxRecords.
func (e *Encoder) Flows(records iter.Seq[*record.Flow]) []byte { return encode(e, e.flowRows, records) }

// DNS is Flows for DNS records.
func (e *Encoder) DNS(records iter.Seq[*record.DNS]) []byte { return encode(e, e.dnsRows, records) }

func encode[R any](e *Encoder, w *rows[R], records iter.Seq[*R]) []byte {
	e.texts.reset()
	e.addrs.reset()
	e.owners.reset()
	e.texts.Number("")
	e.addrs.Number(netip.Addr{})
	e.owners.Number(&record.Owner{})
	w.reset()
	for r := range records {
		w.add(e, r)
	}
	e.ownerRows.reset()
	for i := range e.owners.Values[1:] {
		e.ownerRows.add(e, &e.owners.Values[1+i])
	}
	b := append(e.buffer[:0], layout, 0, 0, 0, 0)
	b = e.appendTexts(b)
	b = e.appendAddrs(b)
	b = e.ownerRows.append(b, e)
	b = w.append(b, e)
	e.buffer = b
	binary.LittleEndian.PutUint32(b[1:], checksum(b))
	return slices.Clone(b)
}

// checksum returns the checksum of all bytes of a chunk except those of the checksum itself.
func checksum(b []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(b[:1], castagnoli), castagnoli, b[headerSize:])
}

// appendTexts appends the number of texts, their lengths, and the texts.
func (e *Encoder) appendTexts(b []byte) []byte {
	values := e.texts.Values[1:]
	e.lengths = e.lengths[:0]
	for _, s := range values {
		e.lengths = append(e.lengths, uint64(len(s)))
	}
	b = e.appendNumbers(binary.AppendUvarint(b, uint64(len(values))), e.lengths)
	for _, s := range values {
		b = append(b, s...)
	}
	return b
}

// appendAddrs is appendTexts for addresses.
func (e *Encoder) appendAddrs(b []byte) []byte {
	values := e.addrs.Values[1:]
	e.lengths, e.addresses = e.lengths[:0], e.addresses[:0]
	for _, a := range values {
		before := len(e.addresses)
		e.addresses, _ = a.AppendBinary(e.addresses) // never fails
		e.lengths = append(e.lengths, uint64(len(e.addresses)-before))
	}
	b = e.appendNumbers(binary.AppendUvarint(b, uint64(len(values))), e.lengths)
	return append(b, e.addresses...)
}

// number returns the number that a column keeps for the value of a member. before is the number in the row before. Most
// values are the same as there, and the comparison saves a look into a dictionary.
func (e *Encoder) number(member any, before uint64) uint64 {
	switch p := member.(type) {
	case *uint64:
		return *p
	case *uint32:
		return uint64(*p)
	case *uint16:
		return uint64(*p)
	case *string:
		return e.textNumber(*p, before)
	case *record.Known:
		return e.textNumber(e.knownText(*p), before)
	case *netip.Addr:
		if *p == e.addrs.Values[before] {
			return before
		}
		return uint64(e.addrs.Number(*p))
	case *record.Owner:
		if sameOwner(p, &e.owners.Values[before]) {
			return before
		}
		return uint64(e.owners.Number(p))
	}
	panic(fmt.Sprintf("chunk: no column can hold a %T", member))
}

func (e *Encoder) textNumber(s string, before uint64) uint64 {
	if s == e.texts.Values[before] {
		return before
	}
	return uint64(e.texts.Number(s))
}

// knownText returns the names of the counters of a set.
func (e *Encoder) knownText(k record.Known) string {
	text, found := e.known[k]
	if !found {
		var names []string
		for _, f := range e.schema.optional {
			if f.Optional&k != 0 {
				names = append(names, f.Name)
			}
		}
		text = strings.Join(names, " ")
		e.known[k] = text
	}
	return text
}

// rows gathers the columns of some rows of R.
type rows[R any] struct {
	columns []column[R]
	numbers [][]uint64 // of the columns of numbers
	bytes   [][]byte   // of the columns of blobs
	used    []bool     // which columns have a value that is not zero
	count   int
}

func newRows[R any](columns []column[R]) *rows[R] {
	n := len(columns)
	return &rows[R]{columns: columns, numbers: make([][]uint64, n), bytes: make([][]byte, n), used: make([]bool, n)}
}

func (w *rows[R]) reset() {
	for i := range w.columns {
		w.numbers[i], w.bytes[i] = w.numbers[i][:0], w.bytes[i][:0]
	}
	clear(w.used)
	w.count = 0
}

func (w *rows[R]) add(e *Encoder, r *R) {
	w.count++
	for i := range w.columns {
		member := w.columns[i].of(r)
		e.scratch = e.scratch[:0]
		switch p := member.(type) {
		case *[]string:
			for _, s := range *p {
				e.scratch = binary.AppendUvarint(e.scratch, uint64(e.texts.Number(s)))
			}
		case *record.Latency:
			e.scratch, _ = p.AppendBinary(e.scratch) // never fails
		default:
			n := e.number(member, w.last(i))
			w.numbers[i] = append(w.numbers[i], n)
			w.used[i] = w.used[i] || n != 0
			continue
		}
		w.bytes[i] = appendBytes(w.bytes[i], e.scratch)
		w.used[i] = w.used[i] || len(e.scratch) > 0
	}
}

// last returns the number of a column in the row before. In the first row it returns 0, the number of the empty value.
func (w *rows[R]) last(column int) uint64 {
	if n := len(w.numbers[column]); n > 0 {
		return w.numbers[column][n-1]
	}
	return 0
}

// append appends the number of rows, the number of columns, and each column with its name. It leaves out a column that
// has only zeros, because an absent column reads as zero.
func (w *rows[R]) append(b []byte, e *Encoder) []byte {
	b = binary.AppendUvarint(b, uint64(w.count))
	n := 0
	for _, used := range w.used {
		if used {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i, used := range w.used {
		switch {
		case !used:
		case len(w.numbers[i]) > 0:
			b = e.appendNumbers(appendBytes(b, w.columns[i].name), w.numbers[i])
		default:
			b = appendBytes(append(appendBytes(b, w.columns[i].name), blobs), w.bytes[i])
		}
	}
	return b
}
