/* SPDX-License-Identifier: Dual MIT/GPL */
/* What the programs keep: types shared with user space, settings and maps. */
#ifndef SOCKTALLY_FLOW_H
#define SOCKTALLY_FLOW_H

/* Which end of a connection a socket is. */
enum role {
	ROLE_NONE = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* A flow: all connections that share owner, addresses and the server's port. A key of which only
 * role and peer_is_local are set is an overflow record. */
struct flow_key {
	__u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u64 cgroup;
	__u32 netns;
	__u32 pid;
	__u32 peer_pid; /* of a server whose client is on this host: the client's pid */
	__u16 port;	/* the server's, host byte order */
	__u8 role;
	__u8 peer_is_local;
};

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

/* What a flow did in one interval. */
struct flow {
	__u8 comm[16];
	__u64 sent;
	__u64 received;
	__u64 segs_out;
	__u64 segs_in;
	__u64 rtt_sum; /* microseconds, over rtt_samples sockets */
	__u32 rtt_samples;
	__u32 retransmits;
	__u32 established;
	__u32 closed;
	__u32 refused;
	__u32 reset;
	__u32 timed_out;
	__u32 unreachable;
	__u32 delivered_ce;
	__u32 reord_seen;
	__u32 ooo;
	__u32 rtos;
	__u32 rto_recoveries;
	__u32 pad;
};

/* One socket's storage. A listener's is copied into each child that it accepts. */
struct tracked {
	__u8 comm[16];
	__u64 cgroup;
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

/* What could not be counted, or not under its own key. */
enum loss {
	LOSS_STORAGE = 0,   /* the kernel refused storage for a socket */
	LOSS_TABLE_FULL,    /* folded into the overflow record */
	LOSS_UNTRACKED,	    /* a connection closed that nobody had seen */
	LOSS_UNCOUNTED,	    /* no table to fold into: these counts are gone */
	LOSS_KINDS,
};

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

struct cgroup_name {
	__u8 name[96];
};

/* Settings, written before load. */
const volatile __u32 only_netns = 0; /* 0: all */

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

struct flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, struct flow_key);
	__type(value, struct flow);
};

/* Two tables take turns: one fills while user space empties the other. Putting the other one here
 * waits for every program that still uses the first, so that no count is lost between them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct flow_table);
} flows SEC(".maps");

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

/* The last part of a control group's path, so that it is known after the group has gone. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, struct cgroup_name);
} cgroup_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

#endif
