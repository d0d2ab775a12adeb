// Package dns tallies DNS queries and answers from copies of their packets.
//
// It trusts no packet. One that cannot be parsed is counted and ignored. All memory that packets can fill is
// bounded. The package reads no clock: the caller gives the times, in nanoseconds of a monotonic clock.
package dns
