package store

import "encoding/binary"

// A column is one value of each record of a chunk, in one of two forms: plain, a varint each, or
// runs, a value and how often it repeats.
const (
	plain byte = 0
	runs  byte = 1
)

// appendColumn appends a column in the shorter form: the form, the number of bytes, the bytes.
func (e *encoder) appendColumn(b []byte, values []uint64) []byte {
	form := runs
	e.table = appendRuns(e.table[:0], values)
	if plainSize(values) <= len(e.table) {
		form = plain
		e.table = e.table[:0]
		for _, v := range values {
			e.table = binary.AppendUvarint(e.table, v)
		}
	}
	b = append(b, form)
	b = binary.AppendUvarint(b, uint64(len(e.table)))
	return append(b, e.table...)
}

func appendRuns(b []byte, values []uint64) []byte {
	for i := 0; i < len(values); {
		j := i + 1
		for j < len(values) && values[j] == values[i] {
			j++
		}
		b = binary.AppendUvarint(b, values[i])
		b = binary.AppendUvarint(b, uint64(j-i))
		i = j
	}
	return b
}

func plainSize(values []uint64) int {
	n := 0
	for _, v := range values {
		for n++; v >= 0x80; v >>= 7 {
			n++
		}
	}
	return n
}

// decodeColumn makes into one value of each record, and says whether they are all the same. It fails
// unless data, of a column of that form, has exactly as many.
func decodeColumn(into []uint64, form byte, data []byte) (same bool, err error) {
	filled := 0
	for filled < len(into) {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return false, errDamaged
		}
		data = data[n:]
		times := uint64(1)
		if form == runs {
			if times, n = binary.Uvarint(data); n <= 0 || times == 0 || times > uint64(len(into)-filled) {
				return false, errDamaged
			}
			data = data[n:]
			same = times == uint64(len(into))
		}
		for range times {
			into[filled] = v
			filled++
		}
	}
	if len(data) > 0 || form > runs {
		return false, errDamaged
	}
	return same, nil
}
