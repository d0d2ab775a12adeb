/* SPDX-License-Identifier: Dual MIT/GPL */
/* What the TCP programs keep for each socket, and to find the other end and old sockets' owners. */
#ifndef SOCKTALLY_TRACKED_H
#define SOCKTALLY_TRACKED_H

/* What the kernel has counted for one socket, at one moment. */
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

/* One socket's storage. A listener's is copied into each child that it accepts. */
struct tracked {
	__u8 comm[16];
	__u64 cgroup;
	__u64 life;
	__u32 pid;
	__u32 peer_pid;
	/* 0 until established; then ORIGIN_ESTABLISHED and, below it, the low half of bytes_acked less
	 * snd_una, the same for a connection's life. In one word, so that a walk sees both or none. */
	volatile __u64 origin;
	__u32 turn; /* TURN_ bits */
	__u8 role;
	__u8 peer_is_local;
	__u8 seeded;
	__u8 pad;
	struct counts base[2]; /* what has been tallied; bit TURN_SLOT of turn says which is valid */
};

#define ORIGIN_ESTABLISHED (1ULL << 32)

#define TURN_SLOT 1
#define TURN_CLOSED 2

/* A client that has just been established: its server, if on this host, is next. */
struct handshake {
	__u8 client[16];
	__u8 server[16];
	__u32 netns; /* only for addresses that mean another host in another namespace */
	__u16 client_port;
	__u16 server_port;
};

struct listening {
	__u32 netns;
	__u32 port;
};

/* Written by user space while it seeds the sockets that are older than the programs. */
enum seed_pass {
	SEED_LISTENERS = 0,
	SEED_CONNECTIONS,
	SEED_PEERS,
	SEED_DONE,
};
volatile __u32 seeding = SEED_LISTENERS;

/* Read by user space after seeding: whether this kernel has the fields of 6.7. */
volatile __u32 counts_rtos;

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct tracked);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, struct handshake);
	__type(value, __u32); /* the client's pid */
} handshakes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct listening);
	__type(value, __u8);
} listeners SEC(".maps");

/* While seeding: the owners of TCP sockets that work for an MPTCP one, which alone has a file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64); /* address of the TCP socket */
	__type(value, struct tracked);
} holders SEC(".maps");

#endif
