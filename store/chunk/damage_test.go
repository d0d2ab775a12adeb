package chunk

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
)

// TestChangedChunks: no chunk with a byte changed or cut off is taken for whole.
func TestChangedChunks(t *testing.T) {
	for _, p := range append(examples(), layout1(t)...) {
		if text, err := read(ours(), p); err != nil || len(text) == 0 {
			t.Fatalf("%d records of a chunk that is whole, %v", len(text), err)
		}
		whole := p.bytes
		check := func(what string, at int) {
			if text, err := read(ours(), p); err != ErrDamaged || len(text) > 0 {
				t.Errorf("layout %d, byte %d %s: %d records, %v", whole[0], at, what, len(text), err)
			}
		}
		for i := range whole {
			for _, change := range []byte{0x10, 1, 2, 3} {
				whole[i] ^= change
				check("changed", i)
				whole[i] ^= change
			}
			p.bytes = whole[:i]
			check("and more cut off", i)
			p.bytes = whole
		}
	}
}

// TestNewerLayout: what is refused as newer is a layout, and only if the chunk is whole.
func TestNewerLayout(t *testing.T) {
	for _, p := range examples() {
		p.bytes[0] = layout + 1
		if _, err := read(ours(), p); err != ErrDamaged {
			t.Errorf("with another layout's checksum: %v", err)
		}
		binary.LittleEndian.PutUint32(p.bytes[1:], checksum(p.bytes))
		if text, err := read(ours(), p); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) || len(text) > 0 {
			t.Errorf("%d records, %v", len(text), err)
		}
	}
}

// FuzzChunk reads bytes as if their checksum were right.
func FuzzChunk(f *testing.F) {
	for _, p := range append(examples(), layout1(f)...) {
		f.Add(p.bytes[headerSize:], p.isDNS, p.bytes[0] == 1)
	}
	f.Add([]byte{0xff, 0x1f, 0xff, 0xff, 0x03}, false, true)
	// As many owners as there may be, all the same, and as many records.
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x80\x40\x01\x03pid\x01\x03\x07\x80\x40\xff\x1f\x01\x0bserver_port\x01\x06\x07\x01\x08\xfe\x1f"), false, false)
	f.Fuzz(func(t *testing.T, data []byte, isDNS, isLayout1 bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		checked := make([]byte, headerSize, headerSize+len(data))
		checked = append(checked, data...)
		sum := layout1Checksum
		if checked[0] = 1; !isLayout1 {
			checked[0], sum = layout, checksum
		}
		binary.LittleEndian.PutUint32(checked[1:], sum(checked))
		records, err := count(checked, isDNS)
		if err != nil && err != ErrDamaged {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if records > MaxRecords {
			t.Fatalf("%d records", records)
		}
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+1000*len(data)); used > most {
			t.Fatalf("%d bytes of input took %d of memory", len(data), used)
		}
	})
}
