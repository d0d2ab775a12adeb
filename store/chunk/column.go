package chunk

import "encoding/binary"

// A column has one value for each row, in one of three forms. Numbers have two forms: plain is one varint for each row,
// and runs is pairs of a value and the number of rows that it repeats. The form blobs is a length and the bytes, for
// each row.
const (
	plain byte = 0
	runs  byte = 1
	blobs byte = 2
)

// appendNumbers appends a column of numbers in the shorter form. It writes the form, the number of bytes, and the bytes.
func (e *Encoder) appendNumbers(b []byte, values []uint64) []byte {
	form := runs
	e.scratch = appendRuns(e.scratch[:0], values)
	if plainSize(values) <= len(e.scratch) {
		form = plain
		e.scratch = e.scratch[:0]
		for _, v := range values {
			e.scratch = binary.AppendUvarint(e.scratch, v)
		}
	}
	return appendBytes(append(b, form), e.scratch)
}

func appendBytes[T []byte | string](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
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

// decodeNumbers reads a column of numbers into into, which must have room for all rows. It returns one value for each
// row. If one run has all rows, it returns that one value only. It fails if data does not have exactly one value for
// each row.
func decodeNumbers(into []uint64, rows int, form byte, data []byte) ([]uint64, error) {
	switch form {
	case plain:
		return decodePlain(into, rows, data)
	case runs:
		return decodeRuns(into, rows, data)
	}
	return nil, ErrDamaged
}

func decodePlain(into []uint64, rows int, data []byte) ([]uint64, error) {
	into = into[:rows]
	for i := range into {
		if len(data) > 0 && data[0] < 0x80 {
			into[i] = uint64(data[0])
			data = data[1:]
			continue
		}
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, ErrDamaged
		}
		into[i] = v
		data = data[n:]
	}
	if len(data) > 0 {
		return nil, ErrDamaged
	}
	return into, nil
}

func decodeRuns(into []uint64, rows int, data []byte) ([]uint64, error) {
	into = into[:0]
	for filled := 0; filled < rows; {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, ErrDamaged
		}
		data = data[n:]
		times, n := binary.Uvarint(data)
		if n <= 0 || times == 0 || times > uint64(rows-filled) {
			return nil, ErrDamaged
		}
		data = data[n:]
		if times == uint64(rows) {
			into = append(into, v)
			break
		}
		into = into[:filled+int(times)]
		for i := filled; i < len(into); i++ {
			into[i] = v
		}
		filled = len(into)
	}
	if len(data) > 0 {
		return nil, ErrDamaged
	}
	return into, nil
}
