package coverage

// Losses counts what could not be counted, or not in its own flow, since the Counter was opened.
type Losses struct {
	// StorageRefused is how often the kernel had no memory for the storage of a socket. The datagrams of
	// such a socket are in the sums, without an owner.
	StorageRefused uint64
	// TableFull is how often the counts of a socket, or a datagram, went to an overflow record. They are in
	// the sums.
	TableFull uint64
	// Untracked is how many connections closed without being counted. They were older than the Counter, and it
	// could not find them: no process had them open, or it could not enter their network namespace.
	Untracked uint64
	// Uncounted is how often the counts of a socket, or a datagram, were lost because there was no record
	// for them.
	Uncounted uint64
	// Unowned is how many connections are newer than the Counter, but their start was not seen. They are in the
	// sums, without an owner.
	Unowned uint64
	// ProcessesMissed is how often there was no room to copy the environment of a process. Then it is read
	// from /proc at the tally, if the process still runs.
	ProcessesMissed uint64
	// Unreadable is how often a network namespace could not be polled (SockDiag only).
	Unreadable uint64
	// DNSDropped counts DNS packets that were not copied for lack of room. DNSMalformed counts those that could
	// not be parsed. DNSUnmatched counts answers without a waiting query. DNSUntracked counts queries that came
	// while too many others were waiting: they are counted as requests, but their answers are not.
	DNSDropped, DNSMalformed, DNSUnmatched, DNSUntracked uint64
}

// reasons are the losses by the value of the tag "reason" of their metric.
var reasons = []struct {
	name string
	of   func(*Losses) *uint64
}{
	{"storage_refused", func(l *Losses) *uint64 { return &l.StorageRefused }},
	{"table_full", func(l *Losses) *uint64 { return &l.TableFull }},
	{"untracked", func(l *Losses) *uint64 { return &l.Untracked }},
	{"uncounted", func(l *Losses) *uint64 { return &l.Uncounted }},
	{"unowned", func(l *Losses) *uint64 { return &l.Unowned }},
	{"processes_missed", func(l *Losses) *uint64 { return &l.ProcessesMissed }},
	{"unreadable", func(l *Losses) *uint64 { return &l.Unreadable }},
	{"dns_dropped", func(l *Losses) *uint64 { return &l.DNSDropped }},
	{"dns_malformed", func(l *Losses) *uint64 { return &l.DNSMalformed }},
	{"dns_unmatched", func(l *Losses) *uint64 { return &l.DNSUnmatched }},
	{"dns_untracked", func(l *Losses) *uint64 { return &l.DNSUntracked }},
}

// Add adds what other holds.
func (l *Losses) Add(other Losses) {
	for _, r := range reasons {
		*r.of(l) += *r.of(&other)
	}
}

// Since calls each for every reason with more losses than in before. n is the difference.
func (l Losses) Since(before Losses, each func(reason string, n uint64)) {
	for _, r := range reasons {
		if n := *r.of(&l) - *r.of(&before); n > 0 {
			each(r.name, n)
		}
	}
}
