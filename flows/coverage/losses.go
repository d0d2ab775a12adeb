package coverage

// Losses says what could not be counted, or not under its own flow, since the Counter was opened.
type Losses struct {
	// StorageRefused is how many times the kernel had no memory for a socket's storage. Sums include
	// such a socket's datagrams, without an owner.
	StorageRefused uint64
	// TableFull is how many tallies of a socket, or datagrams, went to an overflow record. Sums
	// include them.
	TableFull uint64
	// Untracked is how many connections closed of which nothing was known, and so nothing counted:
	// older than the Counter and held by no process and no namespace that it could look into.
	Untracked uint64
	// Uncounted is how many tallies of a socket, or datagrams, had no record at all to go to.
	Uncounted uint64
	// Unowned is how many connections, not older than the Counter, nobody saw begin. Sums include them,
	// without an owner.
	Unowned uint64
	// ProcessesMissed is how many times there was no room for what a process says of itself. Its name is
	// then what it says when the flows are tallied, if it is still there.
	ProcessesMissed uint64
	// Unreadable is how many times a network namespace could not be polled (SockDiag only).
	Unreadable uint64
	// DNSDropped is how many DNS packets found no room to be copied into. DNSMalformed could not be
	// parsed, DNSUnmatched were answers to no query that waited, DNSUntracked queries for which too
	// many others waited: they are counted as requests, and nothing is known of their answers.
	DNSDropped, DNSMalformed, DNSUnmatched, DNSUntracked uint64
}

// reasons are the losses by the value of the tag "reason" that their metric has.
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

// Since calls each for every reason for which there are more losses than before.
func (l Losses) Since(before Losses, each func(reason string, n uint64)) {
	for _, r := range reasons {
		if n := *r.of(&l) - *r.of(&before); n > 0 {
			each(r.name, n)
		}
	}
}
