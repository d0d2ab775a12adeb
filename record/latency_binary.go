package record

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
)

var errLatency = errors.New("decode latency: not a histogram")

// AppendBinary appends the histogram to b, as varints. First comes the maximum. Then each bucket in use has two numbers: the
// difference of its index to that of the bucket before, and its number of durations. An empty histogram has no bytes. The
// error is always nil.
func (l *Latency) AppendBinary(b []byte) ([]byte, error) {
	if l.count == 0 {
		return b, nil
	}
	b = binary.AppendUvarint(b, l.max)
	before := uint16(0)
	for _, i := range slices.Sorted(maps.Keys(l.buckets)) {
		b = binary.AppendUvarint(b, uint64(i-before))
		b = binary.AppendUvarint(b, l.buckets[i])
		before = i
	}
	return b, nil
}

// UnmarshalBinary replaces l by the histogram in data, in the form of AppendBinary. It uses the memory of l again, and keeps
// no reference to data. After an error, l is empty.
func (l *Latency) UnmarshalBinary(data []byte) error {
	clear(l.buckets)
	l.count, l.max = 0, 0
	if len(data) == 0 {
		return nil
	}
	if err := l.unmarshal(data); err != nil {
		clear(l.buckets)
		l.count, l.max = 0, 0
		return err
	}
	return nil
}

func (l *Latency) unmarshal(data []byte) error {
	next := func() uint64 {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			data = nil
			return 0
		}
		data = data[n:]
		return v
	}
	if l.max = next(); l.max == 0 || len(data) == 0 {
		return errLatency
	}
	if l.buckets == nil {
		l.buckets = make(map[uint16]uint64)
	}
	for i, first := uint64(0), true; len(data) > 0; first = false {
		step, n := next(), next()
		if step > math.MaxUint16 || i+step > math.MaxUint16 || step == 0 && !first || n == 0 || l.count+n < n {
			return errLatency
		}
		i += step
		l.buckets[uint16(i)] = n
		l.count += n
	}
	return nil
}
