package dns

import (
	"net/netip"
	"socktally/record"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Options are the limits of a Tallier. 0 stands for the default.
type Options struct {
	// Timeout is how long an answer may take, 15 s by default.
	Timeout time.Duration
	// MaxNames is how many names an interval may have, 1000 by default.
	MaxNames int
	// MaxPending is how many queries may wait for an answer at once, 65536 by default.
	MaxPending int
	// MaxAddresses is for how many addresses the name is remembered at least, 16384 by default. At most twice as
	// many are remembered.
	MaxAddresses int
}

// keysPerName bounds the keys of an interval, as many clients may ask for one name.
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
	// Time is when it was sent or received, in nanoseconds.
	Time uint64
	// Client and Server are the two ends. NetNS tells equal addresses of two network namespaces apart.
	Client, Server netip.AddrPort
	NetNS          uint32
	// TCP says that it was sent over TCP, not UDP.
	TCP bool
	// FromClient says that the client sent it.
	FromClient bool
	// Owner is the owner of the client's socket.
	Owner O
	// Payload is the message, perhaps cut short. The Tallier keeps no reference to it.
	Payload []byte
}

// Key is the key of a tally. If only Name and Type are set, to record.Other, it is the sum of the queries for which
// there was no room.
type Key[O comparable] struct {
	Owner      O
	Client     netip.Addr
	Server     netip.AddrPort
	TCP        bool
	Name, Type string
}

// Losses count what could not be tallied since the start.
type Losses struct {
	// Malformed counts packets that could not be parsed or do not have exactly one question. A connection with
	// a missing segment counts as one; the rest of it is not read.
	Malformed uint64
	// Unmatched counts answers without a waiting query: they are late, sent twice, or forged.
	Unmatched uint64
	// Untracked counts queries that came while too many others were waiting: they are counted as requests, but not
	// matched with their answers. It also counts segments of connections beyond the limit.
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

// transaction is what a query and its answer have in common.
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

// New returns an empty Tallier.
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

// Add adds one packet. Packets should come about in the order of their times.
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
			return // retransmitted: still one query
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

// addQuery counts a query. expired says that an equal query waits and had no answer in time.
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
	if now > q.time { // packets from two CPUs may come in the wrong order
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

// counts returns the tally of a query, or the tally of all others if there is no room.
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

// Expire removes the queries that have waited longer than the timeout at the time now, and counts them as timeouts.
// Packets from before now should have been added already.
func (t *Tallier[O]) Expire(now uint64) {
	for tr, q := range t.pending {
		if now > q.time && now-q.time > uint64(t.options.Timeout) {
			delete(t.pending, tr)
			t.counts(tr, q.owner).Timeouts++
		}
	}
	t.expireStreams(now)
}

// Take returns the tallies since the last Take. The caller may change them.
func (t *Tallier[O]) Take() map[Key[O]]*record.DNSCounts {
	taken := t.tallies
	t.tallies = make(map[Key[O]]*record.DNSCounts)
	clear(t.names)
	return taken
}

// Pending is how many queries are waiting for an answer.
func (t *Tallier[O]) Pending() int { return len(t.pending) }

// Losses returns what could not be tallied.
func (t *Tallier[O]) Losses() Losses { return t.losses }

// NameOf returns the name that an address was last an answer for. It is "" if there is none, or if its time to live is
// over.
func (t *Tallier[O]) NameOf(a netip.Addr, now uint64) string { return t.known.get(a, now) }
