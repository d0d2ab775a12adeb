package chunk

import (
	"encoding/binary"
	"slices"
	"socktally/record"
)

// Absent is the result of Find for a value that is not in the dictionary.
const Absent = ^uint32(0)

// Dictionary gives each different value a number, from 0 on, in the order in which they come. The zero value is empty.
type Dictionary[T comparable] struct {
	numbers map[T]uint32
	Values  []T // by number
}

// Number returns the number of a value. It adds a value that is new.
func (d *Dictionary[T]) Number(v T) uint32 {
	n, found := d.numbers[v]
	if found {
		return n
	}
	if d.numbers == nil {
		d.numbers = make(map[T]uint32)
	}
	n = uint32(len(d.Values))
	d.numbers[v] = n
	d.Values = append(d.Values, v)
	return n
}

// Find returns the number of a value, or Absent.
func (d *Dictionary[T]) Find(v T) uint32 {
	if n, found := d.numbers[v]; found {
		return n
	}
	return Absent
}

func (d *Dictionary[T]) reset() {
	clear(d.numbers)
	d.Values = d.Values[:0]
}

// Owners is a dictionary of owners. It is not a Dictionary, because Go cannot compare owners. The zero value is empty.
type Owners struct {
	keys    Dictionary[string]
	Values  []record.Owner // by number
	scratch []byte
}

// Number returns the number of an owner. It adds a copy of an owner that is new.
func (d *Owners) Number(o *record.Owner) uint32 {
	if n := d.Find(o); n != Absent {
		return n
	}
	kept := *o
	kept.Tags = slices.Clone(o.Tags)
	d.Values = append(d.Values, kept)
	return d.keys.Number(string(d.scratch))
}

// Find returns the number of an owner, or Absent.
func (d *Owners) Find(o *record.Owner) uint32 {
	d.scratch = appendOwnerKey(d.scratch[:0], o)
	if n, found := d.keys.numbers[string(d.scratch)]; found { // no copy is made
		return n
	}
	return Absent
}

func (d *Owners) reset() {
	d.keys.reset()
	d.Values = d.Values[:0]
}

// appendOwnerKey appends all members of an owner, so that different owners have different keys.
func appendOwnerKey(b []byte, o *record.Owner) []byte {
	for _, n := range [...]uint64{uint64(o.PID), o.CgroupID, uint64(o.NetNS)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range [...]string{o.Process, o.Service, o.Env, o.Version, o.Cgroup, o.ContainerID, o.PodUID} {
		b = appendBytes(b, s)
	}
	for _, s := range o.Tags {
		b = appendBytes(b, s)
	}
	return b
}

func sameOwner(a, b *record.Owner) bool {
	return a.PID == b.PID && a.CgroupID == b.CgroupID && a.NetNS == b.NetNS &&
		a.Process == b.Process && a.Service == b.Service && a.Env == b.Env && a.Version == b.Version &&
		a.Cgroup == b.Cgroup && a.ContainerID == b.ContainerID && a.PodUID == b.PodUID && slices.Equal(a.Tags, b.Tags)
}
