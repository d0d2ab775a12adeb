// Package trace counts flows by the programs of package bpf: TCP's from the counts that the kernel keeps for each
// socket, at every close and once an interval, UDP's datagrams and DNS by programs on the root of the cgroup v2
// hierarchy. It needs what package bpf says.
//
// Each thing that a kernel may refuse is loaded and attached alone; what was refused goes to a coverage.Report. The
// structures of the programs end at this package's border: what it returns are values of package end.
package trace
