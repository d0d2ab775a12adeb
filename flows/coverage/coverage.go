// Package coverage reports how each part of the flows is counted on a host, what could not be loaded there, and what is
// missing because of that.
package coverage

import (
	"errors"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Part is one of the things that a Counter counts. A kernel may allow one and refuse another.
type Part string

const (
	// TCP is every connection, however short, and how it ended.
	TCP Part = "tcp"
	// TCPOpen is the traffic of connections while they are open.
	TCPOpen Part = "tcp_open"
	// TCPOlder is the connections that are older than the Counter, and their owners.
	TCPOlder Part = "tcp_older"
	// UDP is datagrams.
	UDP Part = "udp"
	// UDPOwners is the owners of UDP sockets.
	UDPOwners Part = "udp_owners"
	// DNS is DNS queries over UDP and TCP.
	DNS Part = "dns"
	// Processes is the environments of processes that end before the tally.
	Processes Part = "processes"
)

// Entry is how one Part is counted on this host.
type Entry struct {
	Part Part
	// By is what counts it, in the kernel's words, such as "iter/task_file and iter/tcp". It is "" if the Part is not
	// counted.
	By string
	// Errors are why better ways failed, in the order in which they were tried. It is empty if By is the best way.
	Errors []*LoadError
	// Lost is what is missing. It is "" if nothing is, although By may cost more than a better way.
	Lost string
	// Remedy is the one thing to do, "" if there is none.
	Remedy string
}

// Because is the text of Errors, "" if there are none.
func (e Entry) Because() string {
	texts := make([]string, len(e.Errors))
	for i, r := range e.Errors {
		texts[i] = r.Error()
	}
	return strings.Join(texts, "; ")
}

// String is one line: "tcp_open by iter/task_file: walk_storage (iter/bpf_sk_storage_map): operation not permitted".
func (e Entry) String() string {
	text := string(e.Part) + " is not counted"
	if e.By != "" {
		text = string(e.Part) + " by " + e.By
	}
	if len(e.Errors) > 0 {
		text += ": " + e.Because()
	}
	if e.Lost != "" {
		text += "; lost: " + e.Lost
	}
	return text
}

// LogValue is a group with the keys part, by, because, lost and do. Empty values are left out.
func (e Entry) LogValue() slog.Value {
	var attributes []slog.Attr
	for _, a := range []struct{ key, value string }{
		{"part", string(e.Part)}, {"by", e.By}, {"because", e.Because()}, {"lost", e.Lost}, {"do", e.Remedy},
	} {
		if a.value != "" {
			attributes = append(attributes, slog.String(a.key, a.value))
		}
	}
	return slog.GroupValue(attributes...)
}

// The values of Entry.By, alone or joined.
const (
	ByStateChanges = "tp_btf/inet_sock_set_state"
	ByStorage      = "iter/bpf_sk_storage_map"
	ByFiles        = "iter/task_file"
	ByTCPTable     = "iter/tcp"
	BySockDiag     = "sock_diag"
	BySockCreate   = "cgroup/sock_create"
	ByPackets      = "cgroup_skb"
	ByRing         = "ring buffer"
	ByProc         = "/proc"
)

// lost is what is missing of a part that is not counted in the best way.
func lost(part Part, by string) string {
	switch part {
	case TCP:
		return "connections that begin and end between two polls, what a connection does after its last poll, and how it ends"
	case TCPOpen:
		if by == "" {
			return "nothing is seen of a connection until it closes; then it is counted whole"
		}
		return ""
	case TCPOlder:
		switch by {
		case "":
			return "connections that are older than socktally"
		case ByTCPTable:
			return "owners of connections that are older than socktally"
		case ByFiles:
			return "older connections that no process holds yet"
		}
		return ""
	case UDP:
		return "UDP and DNS"
	case UDPOwners:
		switch by {
		case "":
			return "owners of UDP sockets"
		case ByFiles:
			return "owners of UDP sockets that are made from now on"
		}
		return "owners of UDP sockets that are older than socktally"
	case DNS:
		return "DNS"
	case Processes:
		return "DD_SERVICE and the like of processes that are gone at the tally"
	}
	return ""
}

// remedy is what to do about an error.
func remedy(r *LoadError) string {
	switch r.Reason {
	case ReasonKernel:
		return "run Linux 5.12 or newer"
	case ReasonBTF:
		return "run a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions build theirs"
	case ReasonCapability:
		return "run as root, or the service with /usr/lib/socktally/flows.conf"
	case ReasonLockdown:
		return "boot with lockdown=integrity"
	case ReasonSeccomp:
		return "run with packaging/container/seccomp.json or another profile that allows bpf()"
	case ReasonUserNamespace:
		return "run in the host's user namespace"
	case ReasonCgroup:
		return "mount it: mount -t cgroup2 none /sys/fs/cgroup; in a container, pass the host's on"
	case ReasonSockDiag:
		return "set SOCKTALLY_FLOWS=auto"
	}
	if errors.Is(r.Err, unix.EPERM) {
		return "allow it in the kernel's policy for BPF, if that is yours to set"
	}
	return "report this line: the program has a fault on this kernel"
}

// parts are all parts, in the order of a Report.
var parts = []Part{TCP, TCPOpen, TCPOlder, UDP, UDPOwners, DNS, Processes}

// Report is how each Part is counted.
type Report struct {
	Facts   Facts
	Entries []Entry
}

// Add adds a Part, what counts it, and the errors of what was tried before. Errors may be nil.
func (r *Report) Add(part Part, by string, errs ...error) {
	entry := Entry{Part: part, By: by}
	for _, err := range errs {
		if err != nil {
			entry.Errors = append(entry.Errors, r.Explain(part, err))
		}
	}
	if len(entry.Errors) > 0 {
		entry.Lost = lost(part, by)
		entry.Remedy = remedy(entry.Errors[0])
	}
	r.Entries = append(r.Entries, entry)
}

// Explain finds the cause of an error that keeps a part from being counted.
func (r *Report) Explain(part Part, err error) *LoadError {
	var known *LoadError
	if errors.As(err, &known) {
		return known
	}
	return r.Facts.explain(err, part == UDP || part == DNS)
}

// Sort sorts the entries into the order of the constants above.
func (r *Report) Sort() {
	slices.SortFunc(r.Entries, func(a, b Entry) int { return slices.Index(parts, a.Part) - slices.Index(parts, b.Part) })
}

// Of returns the entry of a Part, nil if the Part was not asked for.
func (r *Report) Of(part Part) *Entry {
	for i := range r.Entries {
		if r.Entries[i].Part == part {
			return &r.Entries[i]
		}
	}
	return nil
}

// Join joins two values of Entry.By. Either may be "".
func Join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " and " + b
}
