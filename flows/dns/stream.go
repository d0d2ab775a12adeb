package dns

import (
	"encoding/binary"
	"net/netip"
)

const (
	// maxStreams is how many streams are read at once; each connection has two.
	maxStreams = 8192
	// lengthSize is the size of the length before each message (RFC 1035, 4.2.2).
	lengthSize = 2
	// maxHead is how much of a message is kept. The rest is skipped.
	maxHead = 512
)

// Segment is a TCP segment from or to a DNS server.
type Segment[O comparable] struct {
	// Packet has the first bytes of the segment as its Payload, perhaps not all.
	Packet[O]
	// Sequence is the sequence number of the first byte. Length is the number of bytes in the segment.
	Sequence, Length uint32
	// First says that the segment has SYN.
	First bool
}

// direction is the key of a stream. A connection that is seen at both of its ends has the same key at both.
type direction struct {
	client, server netip.AddrPort
	netns          uint32
	fromClient     bool
}

// stream reassembles the messages of one direction of a connection.
type stream struct {
	next     uint32 // the next sequence number
	head     []byte // of a message, from its length on, that has not come whole
	skip     uint32 // how much of a message is still to come that is not read
	unsynced bool   // a segment is missing, and the beginning of the next message is not known
	last     uint64 // when something came
}

// AddSegment adds one segment of DNS over TCP. It ignores retransmitted segments and segments that were seen at the
// other end already. It also ignores a gap, if only skipped bytes are missing.
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

// reassemble reads the messages in a segment. It returns false if bytes are missing that are needed to find the next
// message.
func (t *Tallier[O]) reassemble(f *stream, s *Segment[O]) bool {
	known, length := s.Payload[:min(len(s.Payload), int(s.Length))], s.Length
	switch ahead := int32(s.Sequence - f.next); {
	case ahead < 0: // the first bytes, or all, were read already
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
			return true // the next segment has the rest
		}
		if len(f.head) < lengthSize {
			return false
		}
		if missing > 0 && len(known) > 0 {
			continue // the length of the message is known now, and the segment has more of it
		}
		// The head has the whole message, or its first maxHead bytes.
		size := uint32(binary.BigEndian.Uint16(f.head))
		p := s.Packet
		p.Payload = f.head[lengthSize:]
		f.skip = lengthSize + size - uint32(len(f.head))
		t.Add(p)
		f.head = f.head[:0]
	}
	return true
}

// missing is how many bytes of the message the head still needs.
func (f *stream) missing() int {
	if len(f.head) < lengthSize {
		return lengthSize - len(f.head)
	}
	return min(lengthSize+int(binary.BigEndian.Uint16(f.head)), maxHead) - len(f.head)
}

// expireStreams removes streams that have been idle for the timeout. If such a stream goes on, its next segment is
// taken for the beginning of a message.
func (t *Tallier[O]) expireStreams(now uint64) {
	for d, f := range t.streams {
		if now > f.last && now-f.last > uint64(t.options.Timeout) {
			delete(t.streams, d)
		}
	}
}
