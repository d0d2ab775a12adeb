package store

// dictionary numbers values in the order in which they come. The zero value is empty.
type dictionary[T comparable] struct {
	numbers map[T]uint32
	values  []T
}

// absent is the number of what a dictionary lacks.
const absent = ^uint32(0)

func (d *dictionary[T]) number(v T) uint32 {
	n, found := d.numbers[v]
	if found {
		return n
	}
	if d.numbers == nil {
		d.numbers = make(map[T]uint32)
	}
	n = uint32(len(d.values))
	d.numbers[v] = n
	d.values = append(d.values, v)
	return n
}

func (d *dictionary[T]) find(v T) uint32 {
	if n, found := d.numbers[v]; found {
		return n
	}
	return absent
}

func (d *dictionary[T]) reset() {
	clear(d.numbers)
	d.values = d.values[:0]
}
