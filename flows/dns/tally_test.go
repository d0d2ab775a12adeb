package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"socktally/record"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.53:53")
)

const ms = uint64(time.Millisecond)

func pack(id uint16, name string, change func(*dnsmessage.Message)) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		},
	}
	if change != nil {
		change(&m)
	}
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packet
}

func reply(rcode dnsmessage.RCode, addresses ...string) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		m.Response, m.RCode = true, rcode
		for _, a := range addresses {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 600},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
			})
		}
	}
}

func sent(at uint64, payload []byte) Packet[int] {
	return Packet[int]{Time: at, Client: client, Server: server, FromClient: true, Owner: 7, Payload: payload}
}

func came(at uint64, payload []byte) Packet[int] {
	return Packet[int]{Time: at, Client: client, Server: server, Owner: 7, Payload: payload}
}

func keyOf(name string) Key[int] {
	return Key[int]{Owner: 7, Client: client.Addr(), Server: server, Name: name, Type: "A"}
}

func TestAnswersAreMatched(t *testing.T) {
	tally := New[int](Options{})
	for i, rcode := range []dnsmessage.RCode{
		dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError, dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused,
	} {
		id := uint16(i)
		tally.Add(sent(0, pack(id, "WWW.example.invalid.", nil)))
		tally.Add(came(uint64(i+1)*ms, pack(id, "www.Example.invalid.", reply(rcode))))
	}
	tally.Add(sent(0, pack(9, "www.example.invalid.", nil)))
	tally.Expire(15_001 * ms)
	got := tally.Take()
	c := got[keyOf("www.example.invalid")]
	if len(got) != 1 || c == nil {
		t.Fatalf("got %+v", got)
	}
	if c.Requests != 5 || c.Successes != 1 || c.NXDomain != 1 || c.ServFail != 1 || c.OtherFailures != 1 ||
		c.Timeouts != 1 || c.FailedResponses() != 3 || c.Failures() != 4 {
		t.Errorf("got %+v", c)
	}
	if p := c.SuccessLatency.Percentile(50); p != 1000 || c.FailureLatency.Count() != 3 || c.FailureLatency.Percentile(100) != 4000 {
		t.Errorf("latencies %+v %+v", c.SuccessLatency, c.FailureLatency)
	}
	if tally.Pending() != 0 || tally.Losses() != (Losses{}) {
		t.Errorf("%d pending, losses %+v", tally.Pending(), tally.Losses())
	}
}

// Answers come in any order, twice, late, or for another question. Queries are retransmitted.
func TestUnevenAnswers(t *testing.T) {
	tally := New[int](Options{Timeout: time.Second})
	a, b := pack(1, "a.invalid.", nil), pack(2, "b.invalid.", nil)
	yesA, yesB := pack(1, "a.invalid.", reply(0)), pack(2, "b.invalid.", reply(0))
	tally.Add(sent(0, a))
	tally.Add(sent(1*ms, b))
	tally.Add(sent(500*ms, a)) // retransmitted
	tally.Add(came(600*ms, yesB))
	tally.Add(came(700*ms, yesA))
	tally.Add(came(701*ms, yesA)) // the answer to the second
	tally.Add(came(702*ms, pack(1, "b.invalid.", reply(0))))
	tally.Add(sent(2000*ms, a))
	tally.Add(sent(4000*ms, a)) // so late that the first has timed out
	tally.Add(came(5100*ms, yesA))
	got := tally.Take()
	wantA := record.DNSCounts{Requests: 3, Successes: 1, Timeouts: 2}
	if c := got[keyOf("a.invalid")]; c.Requests != wantA.Requests || c.Successes != wantA.Successes || c.Timeouts != wantA.Timeouts {
		t.Errorf("got %+v", c)
	}
	if c := got[keyOf("a.invalid")]; c.SuccessLatency.Percentile(100) != 700_000 {
		t.Errorf("the first sending counts: %d", c.SuccessLatency.Percentile(100))
	}
	if c := got[keyOf("b.invalid")]; c.Requests != 1 || c.Successes != 1 {
		t.Errorf("got %+v", c)
	}
	if l := tally.Losses(); l.Unmatched != 2 {
		t.Errorf("losses %+v", l)
	}
}

func TestBadPackets(t *testing.T) {
	query := pack(1, "a.invalid.", nil)
	two := pack(1, "a.invalid.", func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) })
	none := pack(1, "a.invalid.", func(m *dnsmessage.Message) { m.Questions = nil })
	loop := append(slices.Clone(query[:12]), 0xc0, 12, 0, 1, 0, 1)
	update := slices.Clone(query)
	update[2] |= 5 << 3
	for name, payload := range map[string][]byte{
		"empty": nil, "short": query[:11], "cut name": query[:15], "two questions": two, "no question": none,
		"loop": loop, "update": update, "an answer from the client": pack(1, "a.invalid.", reply(0)),
	} {
		tally := New[int](Options{})
		tally.Add(sent(0, payload))
		if len(tally.Take()) != 0 || tally.Pending() != 0 || tally.Losses().Malformed != 1 {
			t.Errorf("%s: losses %+v", name, tally.Losses())
		}
	}
}

// EDNS adds a record at the end. A copy may be cut at any place after the question.
func TestCutPackets(t *testing.T) {
	edns := pack(1, "a.invalid.", func(m *dnsmessage.Message) {
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(1232, 0, true)
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	})
	full := pack(1, "a.invalid.", reply(0, "192.0.2.1", "192.0.2.2"))
	question := 12 + len("a.invalid.") + 1 + 4
	for n := question; n <= len(full); n++ {
		tally := New[int](Options{})
		tally.Add(sent(0, edns))
		tally.Add(came(ms, full[:n]))
		if c := tally.Take()[keyOf("a.invalid")]; c == nil || c.Successes != 1 {
			t.Fatalf("%d bytes: got %+v, losses %+v", n, c, tally.Losses())
		}
		named := tally.NameOf(netip.MustParseAddr("192.0.2.1"), ms)
		if n == len(full) && named != "a.invalid" || n == question && named != "" {
			t.Errorf("%d bytes: %q", n, named)
		}
	}
}

func TestNamesExpire(t *testing.T) {
	tally := New[int](Options{MaxAddresses: 100})
	for i := range 1000 {
		name := fmt.Sprintf("n%d.invalid.", i)
		tally.Add(sent(0, pack(1, name, nil)))
		tally.Add(came(0, pack(1, name, reply(0, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}).String()))))
	}
	last := netip.MustParseAddr("192.0.3.231")
	if got := tally.NameOf(last, ms); got != "n999.invalid" {
		t.Errorf("got %q", got)
	}
	if got := tally.NameOf(last, uint64(11*time.Minute)); got != "" {
		t.Errorf("got %q after its time to live", got)
	}
	if n := tally.known.byAddr.Len(); n > 200 {
		t.Errorf("%d names", n)
	}
}

func TestTalliesAreBounded(t *testing.T) {
	tally := New[int](Options{MaxNames: 10, MaxPending: 50})
	const n = 1000
	for i := range n {
		p := sent(0, pack(uint16(i), fmt.Sprintf("n%d.invalid.", i), nil))
		p.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
		tally.Add(p)
	}
	if tally.Pending() != 50 || tally.Losses().Untracked != n-50 {
		t.Errorf("%d pending, losses %+v", tally.Pending(), tally.Losses())
	}
	tally.Expire(20_000 * ms)
	got := tally.Take()
	var requests, timeouts uint64
	for _, c := range got {
		requests, timeouts = requests+c.Requests, timeouts+c.Timeouts
	}
	if requests != n || timeouts != 50 || len(got) > 10*keysPerName+1 {
		t.Errorf("%d requests, %d timeouts, %d keys", requests, timeouts, len(got))
	}
	if len(tally.Take()) != 0 {
		t.Error("what is taken is told again")
	}
}

func TestNamesAreWrittenPlainly(t *testing.T) {
	for name, want := range map[string]string{
		"A.b.": "a.b", ".": ".", "a\x00b c\\\xff.": `a\000b\032c\092\255`,
	} {
		if got := plainName(dnsmessage.MustNewName(name)); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	for number, want := range map[dnsmessage.Type]string{1: "A", 28: "AAAA", 65: "HTTPS", 999: "TYPE999"} {
		if got := typeName(number); got != want {
			t.Errorf("%d: got %q, want %q", number, got, want)
		}
	}
}

func FuzzAdd(f *testing.F) {
	query := pack(1, "a.invalid.", nil)
	f.Add(query, pack(1, "a.invalid.", reply(0, "192.0.2.1")))
	f.Add(query, pack(1, "a.invalid.", reply(3)))
	f.Add(append(slices.Clone(query[:12]), 0xc0, 12, 0, 1, 0, 1), query[:20])
	long := pack(2, strings.Repeat(strings.Repeat("x", 63)+".", 3)+strings.Repeat("y", 61)+".", nil)
	f.Add(long, binary.BigEndian.AppendUint16(nil, 1))
	tally := New[int](Options{MaxNames: 4, MaxPending: 8, MaxAddresses: 8})
	now := uint64(0)
	f.Fuzz(func(t *testing.T, q, a []byte) {
		now += ms
		tally.Add(sent(now, q))
		tally.Add(came(now+1, a))
		tally.Expire(now)
		if tally.Pending() > 8 || len(tally.tallies) > 4*keysPerName+1 || tally.known.byAddr.Len() > 2*8 {
			t.Errorf("it grows: %d, %d, %d", tally.Pending(), len(tally.tallies), tally.known.byAddr.Len())
		}
		for k := range tally.tallies {
			if len(k.Name) > 4*255 || k.Name != strings.ToLower(k.Name) || k.Name != record.CleanName(k.Name) {
				t.Errorf("name %q", k.Name)
			}
			for i := range len(k.Name) {
				if k.Name[i] <= ' ' || k.Name[i] >= 0x7f {
					t.Errorf("name %q", k.Name)
				}
			}
		}
		if now%64 == 0 {
			tally.Take()
		}
	})
}
