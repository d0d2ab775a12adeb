// Package trace counts flows by the programs of package bpf. The counts of TCP come from the kernel's counters of each
// socket, which are read once an interval and at every close. UDP and DNS are counted by programs at the root of the
// cgroup v2 hierarchy. Package bpf says what all of them need.
//
// Programs are loaded and attached one by one, because a kernel may refuse some of them. Errors go to a coverage.Report.
// No structure of the programs leaves this package: it returns values of package end.
package trace
