/* SPDX-License-Identifier: Dual MIT/GPL */
/* The storage of each TCP socket. */
#ifndef SOCKTALLY_TRACKED_H
#define SOCKTALLY_TRACKED_H

/* The kernel's counters of one socket at one moment. */
struct counts {
	__u64 sent;
	__u64 received;
	__u32 segs_out;
	__u32 segs_in;
	__u32 retransmits;
	__u32 delivered_ce;
	__u32 reord_seen;
	__u32 ooo;
	__u16 rtos;
	__u16 rto_recoveries;
	__u32 established;
};

/* The storage of one socket. The kernel copies a listener's storage to each connection that it accepts. */
struct tracked {
	__u8 comm[16];
	__u64 cgroup;
	__u64 start_id;
	__u32 pid;
	__u32 peer_pid;
	/* 0 until established. Then ORIGIN_ESTABLISHED and, in the lower 32 bits, bytes_acked less snd_una:
	 * see origin_of. Both are in one word, so that a walk sees both or none. */
	volatile __u64 origin;
	__u32 baseline; /* BASELINE_ bits */
	__u8 role;
	__u8 peer_is_local;
	__u8 seeded;
	__u8 pad;
	__u32 walked; /* walk_number of the last walk that visited this socket */
	__u32 pad2;
	struct counts base[2]; /* what was added to flows; bit BASELINE_SLOT of baseline is the valid index */
};

#define ORIGIN_ESTABLISHED (1ULL << 32)

#define BASELINE_SLOT 1
#define BASELINE_CLOSED 2

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct tracked);
} sockets SEC(".maps");

#endif
