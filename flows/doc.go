// Package flows tallies TCP and UDP flows: who talked to whom in an interval, and how much, and what became of DNS
// queries.
//
// A Counter takes what package trace counts by programs in the kernel or, where the kernel refuses those for TCP, what
// package sockdiag finds by polling, and makes records of it: one for a flow, also where both its ends are on this host.
//
// The packages below do not log and keep no state outside a Counter: trace (programs and maps), sockdiag (polling),
// process (whose a socket is), dns (queries and answers), end (what one end saw), coverage (what the kernel refused,
// what could not be counted) and networks (names of networks).
package flows
