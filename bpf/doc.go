// Package bpf holds the BPF programs that count TCP and UDP flows, their C sources and the Go code
// that bpf2go makes of them.
//
// The programs need Linux 5.12 or newer (atomic compare-and-swap; socket storage in tracing
// programs is from 5.11) with BTF, and the capabilities CAP_BPF and CAP_PERFMON; those for UDP also
// need CAP_NET_ADMIN and a cgroup v2 hierarchy. They read kernel structures by
// CO-RE, so one object serves every kernel and every little-endian machine.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf -type flow_key -type flow -type tracked -type loss -type role -type seed_pass -type process -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" Flows flows.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf -type tuple -type conversation -type udp_socket -type dns_packet -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter" Udp udp.c
