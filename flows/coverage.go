package flows

import (
	"errors"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Part is one of the things that a Counter counts, each of which the kernel may refuse alone.
type Part string

const (
	// PartTCP is TCP: every connection, however short, and how it ended.
	PartTCP Part = "tcp"
	// PartTCPOpen is what connections do while they are open.
	PartTCPOpen Part = "tcp_open"
	// PartTCPOlder is connections that are older than the Counter, and who owns them.
	PartTCPOlder Part = "tcp_older"
	// PartUDP is UDP's datagrams.
	PartUDP Part = "udp"
	// PartUDPOwners is who owns UDP sockets.
	PartUDPOwners Part = "udp_owners"
	// PartDNS is DNS queries, over UDP and TCP.
	PartDNS Part = "dns"
	// PartProcesses is what processes say of themselves that live only for a moment.
	PartProcesses Part = "processes"
)

// Coverage is how one Part is counted here.
type Coverage struct {
	Part Part
	// By is what counts it, in the kernel's words, such as "iter/task_file and iter/tcp"; "" where nothing does.
	By string
	// Refused is what would have been better, in the order in which it was tried. It is empty where By is the best.
	Refused []*Refusal
	// Lost is what is missing, "" where By serves as well but costs more.
	Lost string
	// Remedy is the one thing to do, "" where there is none.
	Remedy string
}

// Because is what the kernel refused, "" where By is the best.
func (c Coverage) Because() string {
	texts := make([]string, len(c.Refused))
	for i, r := range c.Refused {
		texts[i] = r.Error()
	}
	return strings.Join(texts, "; ")
}

// String is one line: "tcp_open by iter/task_file: walk_storage (iter/bpf_sk_storage_map): operation not permitted".
func (c Coverage) String() string {
	text := string(c.Part) + " is not counted"
	if c.By != "" {
		text = string(c.Part) + " by " + c.By
	}
	if len(c.Refused) > 0 {
		text += ": " + c.Because()
	}
	if c.Lost != "" {
		text += "; lost: " + c.Lost
	}
	return text
}

// LogValue is a group of part, by, because, lost and do, without those that are empty.
func (c Coverage) LogValue() slog.Value {
	var attributes []slog.Attr
	for _, a := range []struct{ key, value string }{
		{"part", string(c.Part)}, {"by", c.By}, {"because", c.Because()}, {"lost", c.Lost}, {"do", c.Remedy},
	} {
		if a.value != "" {
			attributes = append(attributes, slog.String(a.key, a.value))
		}
	}
	return slog.GroupValue(attributes...)
}

// What counts a Part, where there is more than one way.
const (
	byStateChanges = "tp_btf/inet_sock_set_state"
	byStorage      = "iter/bpf_sk_storage_map"
	byFiles        = "iter/task_file"
	byTCPTable     = "iter/tcp"
	bySockDiag     = "sock_diag"
	bySockCreate   = "cgroup/sock_create"
	byPackets      = "cgroup_skb"
	byRing         = "ring buffer"
	byProc         = "/proc"
)

// lost is what is missing of a part that is counted by less than the best.
func lost(part Part, by string) string {
	switch part {
	case PartTCP:
		return "connections that begin and end between two polls, what a connection does after its last poll, and how it ends"
	case PartTCPOpen:
		if by == "" {
			return "nothing is seen of a connection until it closes; then it is counted whole"
		}
		return ""
	case PartTCPOlder:
		switch by {
		case "":
			return "connections that are older than socktally"
		case byTCPTable:
			return "owners of connections that are older than socktally"
		case byFiles:
			return "older connections that no process holds yet"
		}
		return ""
	case PartUDP:
		return "UDP and DNS"
	case PartUDPOwners:
		switch by {
		case "":
			return "owners of UDP sockets"
		case byFiles:
			return "owners of UDP sockets that are made from now on"
		}
		return "owners of UDP sockets that are older than socktally"
	case PartDNS:
		return "DNS"
	case PartProcesses:
		return "DD_SERVICE and the like of processes that are gone at the tally"
	}
	return ""
}

// remedy is what to do about a refusal.
func remedy(r *Refusal) string {
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

// parts are all of them, in the order in which they are told.
var parts = []Part{PartTCP, PartTCPOpen, PartTCPOlder, PartUDP, PartUDPOwners, PartDNS, PartProcesses}

// coverage gathers how each Part is counted.
type coverage struct {
	facts facts
	parts []Coverage
}

func (c *coverage) add(part Part, by string, refused ...error) {
	cover := Coverage{Part: part, By: by}
	for _, err := range refused {
		if err != nil {
			cover.Refused = append(cover.Refused, c.explain(part, err))
		}
	}
	if len(cover.Refused) > 0 {
		cover.Lost = lost(part, by)
		cover.Remedy = remedy(cover.Refused[0])
	}
	c.parts = append(c.parts, cover)
}

func (c *coverage) explain(part Part, err error) *Refusal {
	var known *Refusal
	if errors.As(err, &known) {
		return known
	}
	return c.facts.explain(err, part == PartUDP || part == PartDNS)
}

func (c *coverage) sort() {
	slices.SortFunc(c.parts, func(a, b Coverage) int { return slices.Index(parts, a.Part) - slices.Index(parts, b.Part) })
}

// of returns how a Part is counted, nil where it was not asked for.
func (c *coverage) of(part Part) *Coverage {
	for i := range c.parts {
		if c.parts[i].Part == part {
			return &c.parts[i]
		}
	}
	return nil
}
