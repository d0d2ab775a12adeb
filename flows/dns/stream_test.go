package dns

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"socktally/record"
	"strings"
	"testing"
)

// framed returns a message with its length before it.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

// segment is a segment of a stream, with only the first bytes, as the BPF programs copy it.
func segment(stream []byte, from, to int, first uint32, fromClient bool) Segment[int] {
	p := sent(ms, stream[from:min(to, from+512)])
	p.TCP, p.FromClient = true, fromClient
	return Segment[int]{Packet: p, Sequence: first + uint32(from), Length: uint32(to - from)}
}

// Streams are cut at any place, seen twice and retransmitted. Each message is read once.
func TestStreamsAreRead(t *testing.T) {
	big := []string{}
	for i := range 100 {
		big = append(big, fmt.Sprintf("192.0.2.%d", i))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		tally := New[int](Options{})
		var queries, answers []byte
		n := 1 + random.IntN(5)
		for i := range n {
			name := strings.Repeat("long.", i*5) + "invalid."
			queries = append(queries, framed(pack(uint16(i), name, nil))...)
			// The last message is long, so that its segments are not copied completely.
			addresses := big[:1]
			if i == n-1 {
				addresses = big
			}
			answers = append(answers, framed(pack(uint16(i), name, reply(0, addresses...)))...)
		}
		start := random.Uint32() // sequence numbers may wrap around
		if round%2 == 0 {
			start = -uint32(random.IntN(200))
		}
		for _, d := range []struct {
			stream     []byte
			fromClient bool
		}{{queries, true}, {answers, false}} {
			if round%3 == 0 { // otherwise there is no SYN, and the first segment is taken for the beginning
				syn := segment(nil, 0, 0, start-1, d.fromClient)
				syn.First = true
				tally.AddSegment(syn)
				tally.AddSegment(syn)
			}
			for from := 0; from < len(d.stream); {
				to := min(from+1+random.IntN(400), len(d.stream))
				tally.AddSegment(segment(d.stream, from, to, start, d.fromClient))
				again := max(0, from-random.IntN(50))
				tally.AddSegment(segment(d.stream, again, to, start, d.fromClient))
				from = to
			}
		}
		var sum record.DNSCounts
		for k, c := range tally.Take() {
			if !k.TCP {
				t.Errorf("%+v is not of TCP", k)
			}
			sum.Requests += c.Requests
			sum.Successes += c.Successes
		}
		if sum.Requests != uint64(n) || sum.Successes != uint64(n) || tally.Losses() != (Losses{}) {
			t.Fatalf("round %d: %d of %d requests, %d answers, losses %+v", round, sum.Requests, n, sum.Successes, tally.Losses())
		}
	}
}

// A gap in skipped bytes does no harm. After a gap before a message nothing more is read, and this is counted once.
func TestStreamsWithGaps(t *testing.T) {
	tally := New[int](Options{})
	question := framed(pack(1, "a.invalid.", nil))
	stream := append([]byte{}, question...)
	stream = append(stream, framed(append(pack(2, "b.invalid.", nil), make([]byte, 3000)...))...)
	stream = append(stream, question...)
	tally.AddSegment(segment(stream, 0, 700, 5, true))
	tally.AddSegment(segment(stream, 1400, 2000, 5, true)) // bytes 700 to 1400 are missing
	tally.AddSegment(segment(stream, 700, 1400, 5, true))
	tally.AddSegment(segment(stream, 2000, len(stream)-len(question), 5, true))
	if l := tally.Losses(); l != (Losses{}) {
		t.Errorf("losses %+v", l)
	}
	tally.AddSegment(segment(stream, len(stream)-len(question)+4, len(stream), 5, true))
	tally.AddSegment(segment(stream, 0, 700, 9000, true))
	got := tally.Take()
	for _, name := range []string{"a.invalid", "b.invalid"} {
		k := keyOf(name)
		k.TCP = true
		if c := got[k]; c == nil || c.Requests != 1 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if l := tally.Losses(); l != (Losses{Malformed: 1}) {
		t.Errorf("losses %+v", l)
	}
	// After the timeout, any segment is taken for a beginning.
	tally.Expire(ms + 16_000*ms)
	tally.AddSegment(segment(question, 0, len(question), 77, true))
	k := keyOf("a.invalid")
	k.TCP = true
	if c := tally.Take()[k]; c.Requests != 1 {
		t.Errorf("the stream is still lost: %+v", c)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	tally := New[int](Options{})
	question := framed(pack(1, "a.invalid.", nil))
	for i := range maxStreams + 10 {
		s := segment(question, 0, 20, 0, true)
		s.NetNS = uint32(i)
		tally.AddSegment(s)
	}
	if len(tally.streams) != maxStreams || tally.Losses().Untracked != 10 {
		t.Errorf("%d streams, losses %+v", len(tally.streams), tally.Losses())
	}
}

func FuzzAddSegment(f *testing.F) {
	f.Add(framed(pack(1, "a.invalid.", nil)), uint32(0), uint32(0), false)
	f.Add([]byte{0}, uint32(1<<32-1), uint32(70_000), true)
	f.Add([]byte{0xff, 0xff, 1}, uint32(5), uint32(3), false)
	f.Fuzz(func(t *testing.T, payload []byte, sequence, more uint32, first bool) {
		tally := New[int](Options{})
		for i := range uint32(3) {
			s := Segment[int]{Packet: sent(ms, payload), Sequence: sequence + i*uint32(len(payload)), Length: uint32(len(payload)) + more, First: first && i == 0}
			tally.AddSegment(s)
		}
		for _, f := range tally.streams {
			if len(f.head) > maxHead {
				t.Errorf("%d bytes are kept", len(f.head))
			}
		}
	})
}
