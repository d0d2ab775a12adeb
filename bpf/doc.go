// Package bpf has the BPF programs that count TCP and UDP flows: their C sources, and the Go code that bpf2go makes
// from them.
//
// The programs need Linux 5.12 or newer with BTF, and the capabilities CAP_BPF and CAP_PERFMON. (Linux 5.12 brought
// atomic compare-and-swap, 5.11 socket storage in tracing programs.) The programs for UDP also need CAP_NET_ADMIN
// and a cgroup v2 hierarchy. All read kernel structures by CO-RE, so one object file fits every kernel and every
// little-endian machine.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf -type flow_key -type flow -type tracked -type loss -type role -type seed_pass -type process -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" Flows flows.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf -type tuple -type conntrack_entry -type udp_socket -type dns_packet -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" Udp udp.c
