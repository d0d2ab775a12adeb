// Package flows tallies TCP and UDP flows: who talked to whom in an interval, and how much.
//
// TCP's counts are those that the kernel keeps for each socket. With Linux 5.12 or newer, BTF,
// CAP_BPF and CAP_PERFMON, the programs of package bpf read them at every close and once an
// interval, so that no connection is too short to be counted. Without, the package polls
// NETLINK_SOCK_DIAG, which has the same counts but shows only what is open at the poll.
//
// For UDP the kernel keeps no counts: programs on the root of the cgroup v2 hierarchy count each
// datagram. They also need CAP_NET_ADMIN; where they are refused, UDP is left out.
//
// The package does not log and keeps no state outside a Counter.
package flows
