package dns

import (
	"encoding/binary"
	"net/netip"
)

const (
	// maxStreams bounds the directions of connections that are followed at once.
	maxStreams = 8192
	// lengthSize is the length that stands before each message.
	lengthSize = 2
	// maxHead is how much of a message is kept until it can be read. The rest is passed over.
	maxHead = 512
)

// Segment is a part of one direction of a connection to a DNS server.
type Segment[O comparable] struct {
	// Packet's Payload is the beginning of the segment's bytes, perhaps not all.
	Packet[O]
	// Sequence is that of the first byte, Length how many there are.
	Sequence, Length uint32
	// First says that the connection begins here.
	First bool
}

// direction tells the streams apart. The same connection seen at both of its ends is one.
type direction struct {
	client, server netip.AddrPort
	netns          uint32
	fromClient     bool
}

// stream puts the messages of one direction together.
type stream struct {
	next     uint32 // the sequence number that comes next
	head     []byte // of a message, from its length on, that has not come whole
	skip     uint32 // how much of a message is still to come that is not read
	unsynced bool   // where a message begins is not known any more
	last     uint64 // when something came
}

// AddSegment takes one segment of DNS over TCP. Segments that were sent again, or that the other end
// shows too, are passed over; so is a gap in what need not be read.
func (t *Tallier[O]) AddSegment(s Segment[O]) {
	d := direction{s.Client, s.Server, s.NetNS, s.FromClient}
	f := t.streams[d]
	if f == nil || s.First {
		if f == nil && len(t.streams) >= maxStreams {
			t.losses.Untracked++
			return
		}
		f = &stream{next: s.Sequence}
		t.streams[d] = f
	}
	if s.First {
		s.Sequence++ // the SYN
		f.next = s.Sequence
	}
	f.last = s.Time
	if f.unsynced || !t.reassemble(f, &s) {
		f.head = nil
		if !f.unsynced {
			f.unsynced = true
			t.losses.Malformed++
		}
	}
}

// follow reads the messages in a segment. It is false where a byte is missing without which the next
// message cannot be found.
func (t *Tallier[O]) reassemble(f *stream, s *Segment[O]) bool {
	known, length := s.Payload[:min(len(s.Payload), int(s.Length))], s.Length
	switch ahead := int32(s.Sequence - f.next); {
	case ahead < 0: // some of it, or all, has come before
		old := min(uint32(-ahead), length)
		known, length = known[min(int(old), len(known)):], length-old
	case uint32(ahead) > f.skip:
		return false
	default:
		f.skip -= uint32(ahead)
		f.next += uint32(ahead)
	}
	for f.next += length; length > 0; {
		if f.skip > 0 {
			n := min(f.skip, length)
			f.skip -= n
			length -= n
			known = known[min(int(n), len(known)):]
			continue
		}
		n := min(f.missing(), len(known))
		f.head = append(f.head, known[:n]...)
		known, length = known[n:], length-uint32(n)
		missing := f.missing()
		if missing > 0 && length == 0 {
			return true // the rest comes later
		}
		if len(f.head) < lengthSize {
			return false
		}
		if missing > 0 && len(known) > 0 {
			continue // its length is known now, and more of it is here
		}
		// The message, or as much of it as was kept.
		size := uint32(binary.BigEndian.Uint16(f.head))
		p := s.Packet
		p.Payload = f.head[lengthSize:]
		f.skip = lengthSize + size - uint32(len(f.head))
		t.Add(p)
		f.head = f.head[:0]
	}
	return true
}

// wants is how much more of the message is to be kept.
func (f *stream) missing() int {
	if len(f.head) < lengthSize {
		return lengthSize - len(f.head)
	}
	return min(lengthSize+int(binary.BigEndian.Uint16(f.head)), maxHead) - len(f.head)
}

// expireStreams forgets where nothing has come for long. What comes then begins with a message.
func (t *Tallier[O]) expireStreams(now uint64) {
	for d, f := range t.streams {
		if now > f.last && now-f.last > uint64(t.options.Timeout) {
			delete(t.streams, d)
		}
	}
}
