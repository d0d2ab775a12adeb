// Package flows tallies TCP and UDP flows and DNS queries: who communicated with whom in an interval, how much, and
// with what result.
//
// A Counter counts by package trace, which uses BPF programs. If the kernel does not allow these for TCP, it counts TCP
// by package sockdiag, which polls. It makes one record for each flow, also if both ends are on this host.
//
// The packages below do not log, and keep no state outside a Counter:
//
//   - trace: BPF programs and maps
//   - sockdiag: polling
//   - process: owners of sockets
//   - dns: queries and answers
//   - end: the counts of one end of a flow
//   - coverage: how each part is counted, and what is lost
//   - networks: names of networks
package flows
