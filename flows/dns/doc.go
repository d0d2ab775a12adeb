// Package dns tallies DNS queries and their answers from copies of the packets that carried them.
//
// It assumes nothing of a packet: what cannot be parsed is counted and passed over, and everything
// that packets can make grow is bounded. The package reads no clock; times are those that the caller
// gives, in nanoseconds of any clock that does not go back.
package dns
