package dns

import (
	"net/netip"
	"socktally/record"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Options bound a Tallier. Zero values are replaced by defaults.
type Options struct {
	// Timeout is how long an answer may take: 15 s.
	Timeout time.Duration
	// MaxNames is how many names an interval may have: 1000.
	MaxNames int
	// MaxPending is how many queries may wait for their answers at once: 65536.
	MaxPending int
	// MaxAddresses is how many addresses keep a name: at least 16384 and at most twice as many.
	MaxAddresses int
}

// keysPerName bounds the keys of an interval: the same names are asked by many clients.
const keysPerName = 8

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Second
	}
	if o.MaxNames == 0 {
		o.MaxNames = 1000
	}
	if o.MaxPending == 0 {
		o.MaxPending = 65536
	}
	if o.MaxAddresses == 0 {
		o.MaxAddresses = 16384
	}
	return o
}

// Packet is one message to or from a DNS server.
type Packet[O comparable] struct {
	// Time is when it passed, in nanoseconds.
	Time uint64
	// Client and Server are the two ends, NetNS what tells equal addresses apart.
	Client, Server netip.AddrPort
	NetNS          uint32
	// TCP says that it went over TCP, not UDP.
	TCP bool
	// FromClient says which way it went.
	FromClient bool
	// Owner is who holds the client's socket.
	Owner O
	// Payload is the message, perhaps cut short. It is not kept.
	Payload []byte
}

// Key is what queries are tallied by. Client has no port. A Key of which only Name and Type are set
// (to Other) sums what found no room.
type Key[O comparable] struct {
	Owner      O
	Client     netip.Addr
	Server     netip.AddrPort
	TCP        bool
	Name, Type string
}

// Losses count what could not be tallied, since the start.
type Losses struct {
	// Malformed packets could not be parsed, or do not ask one question. A connection of which a
	// segment is missing is one, and what follows on it is not read.
	Malformed uint64
	// Unmatched answers belong to no query that waits: late, sent twice, or forged.
	Unmatched uint64
	// Untracked queries are counted as requests, but too many others waited for theirs to be matched
	// with an answer. So are segments of more connections than are followed.
	Untracked uint64
}

// Tallier matches answers to queries. It is not safe for concurrent use.
type Tallier[O comparable] struct {
	options Options
	pending map[transaction]query[O]
	streams map[direction]*stream
	tallies map[Key[O]]*record.DNSCounts
	names   map[string]bool
	known   names
	losses  Losses
}

// transaction is what an answer has in common with its query.
type transaction struct {
	client, server netip.AddrPort
	netns          uint32
	tcp            bool
	id             uint16
	name, kind     string
}

type query[O comparable] struct {
	time  uint64
	owner O
}

// New returns a Tallier that knows nothing yet.
func New[O comparable](o Options) *Tallier[O] {
	o = o.withDefaults()
	return &Tallier[O]{
		options: o,
		pending: make(map[transaction]query[O]),
		streams: make(map[direction]*stream),
		tallies: make(map[Key[O]]*record.DNSCounts),
		names:   make(map[string]bool),
		known:   newNames(o.MaxAddresses),
	}
}

// Add takes one packet. Packets are expected in about the order of their times.
func (t *Tallier[O]) Add(p Packet[O]) {
	m, err := parse(p.Payload)
	if err != nil || m.response == p.FromClient {
		t.losses.Malformed++
		return
	}
	tr := transaction{p.Client, p.Server, p.NetNS, p.TCP, m.id, m.name, m.kind}
	waiting, ok := t.pending[tr]
	if p.FromClient {
		if ok && p.Time-waiting.time < uint64(t.options.Timeout) {
			return // sent again: still one query
		}
		t.addQuery(tr, query[O]{p.Time, p.Owner}, ok)
		return
	}
	if !ok {
		t.losses.Unmatched++
		return
	}
	delete(t.pending, tr)
	t.addAnswer(tr, waiting, &m, p.Time)
}

// ask counts a query; expired says that an older one of the same kind had no answer in time.
func (t *Tallier[O]) addQuery(tr transaction, q query[O], expired bool) {
	if expired {
		t.counts(tr, t.pending[tr].owner).Timeouts++
	}
	t.counts(tr, q.owner).Requests++
	if !expired && len(t.pending) >= t.options.MaxPending {
		t.losses.Untracked++
		return
	}
	t.pending[tr] = q
}

func (t *Tallier[O]) addAnswer(tr transaction, q query[O], m *message, now uint64) {
	c := t.counts(tr, q.owner)
	var took uint64
	if now > q.time { // packets of two CPUs may come in the wrong order
		took = now - q.time
	}
	if took > uint64(t.options.Timeout) {
		c.Timeouts++
		return
	}
	latency := &c.FailureLatency
	switch m.rcode {
	case dnsmessage.RCodeSuccess:
		c.Successes++
		latency = &c.SuccessLatency
		for _, a := range m.answers {
			t.known.put(a.addr, m.name, a.ttl, now)
		}
	case dnsmessage.RCodeNameError:
		c.NXDomain++
	case dnsmessage.RCodeServerFailure:
		c.ServFail++
	default:
		c.OtherFailures++
	}
	latency.Add(time.Duration(took))
}

// counts finds the tally of a query, or that of all others where there is no room for it.
func (t *Tallier[O]) counts(tr transaction, owner O) *record.DNSCounts {
	k := Key[O]{owner, tr.client.Addr(), tr.server, tr.tcp, tr.name, tr.kind}
	if !t.names[tr.name] {
		if len(t.names) < t.options.MaxNames {
			t.names[tr.name] = true
		} else {
			k.Name, k.Type = record.Other, record.Other
		}
	}
	c, ok := t.tallies[k]
	if !ok && len(t.tallies) >= t.options.MaxNames*keysPerName {
		k = Key[O]{Name: record.Other, Type: record.Other}
		c, ok = t.tallies[k]
	}
	if !ok {
		c = &record.DNSCounts{}
		t.tallies[k] = c
	}
	return c
}

// Expire gives up the queries that have waited too long at the given time. All packets that passed
// before it should have been added.
func (t *Tallier[O]) Expire(now uint64) {
	for tr, q := range t.pending {
		if now > q.time && now-q.time > uint64(t.options.Timeout) {
			delete(t.pending, tr)
			t.counts(tr, q.owner).Timeouts++
		}
	}
	t.expireStreams(now)
}

// Take returns the tallies since the last Take, each of which now belongs to the caller.
func (t *Tallier[O]) Take() map[Key[O]]*record.DNSCounts {
	taken := t.tallies
	t.tallies = make(map[Key[O]]*record.DNSCounts)
	clear(t.names)
	return taken
}

// Pending is how many queries wait for their answers.
func (t *Tallier[O]) Pending() int { return len(t.pending) }

// Losses returns what could not be tallied.
func (t *Tallier[O]) Losses() Losses { return t.losses }

// NameOf returns the name for which an address was the latest answer, "" where there is none or its
// time to live is over.
func (t *Tallier[O]) NameOf(a netip.Addr, now uint64) string { return t.known.get(a, now) }
