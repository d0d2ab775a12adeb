/* SPDX-License-Identifier: Dual MIT/GPL */
/*
 * The kernel as the programs see it: only the fields that they read. Offsets come from the running
 * kernel's BTF at load, so order and size mean nothing here. Where kernels differ, the difference
 * is written beside the field.
 */
#ifndef SOCKTALLY_KERNEL_H
#define SOCKTALLY_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;
typedef signed long long __s64;
typedef _Bool bool;

/* The helpers' own declarations name these. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#define NULL ((void *)0)

/* Kernel ABI, from linux/bpf.h. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_F_NO_PREALLOC = 1 << 0,
	BPF_F_CLONE = 1 << 9,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

#define BPF_F_CURRENT_NETNS (-1LL)

/* Kernel ABI, from net/tcp_states.h. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

enum {
	AF_INET = 2,
	AF_INET6 = 10,
};

enum {
	IPPROTO_TCP = 6,
	IPPROTO_MPTCP = 262,
};

/* asm-generic/errno.h. mips, parisc, alpha and sparc number these differently; none is a target. */
enum {
	EACCES = 13,
	EPIPE = 32,
	ENONET = 64,
	ENETUNREACH = 101,
	ECONNRESET = 104,
	ETIMEDOUT = 110,
	ECONNREFUSED = 111,
	EHOSTDOWN = 112,
	EHOSTUNREACH = 113,
};

/* enum sock_flags. */
#define SOCK_DEAD_BIT (1UL << 0) /* no process holds the socket any more */
#define SOCK_DONE_BIT (1UL << 1) /* the peer's FIN has been taken in */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	__u32 inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net; /* absent without CONFIG_NET_NS */
} possible_net_t;

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport; /* network byte order */
	__u16 skc_num;	 /* host byte order; 0 once the port is given back, before the state is CLOSE */
	__u16 skc_family;
	volatile __u8 skc_state;
	possible_net_t skc_net;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr;	  /* absent without CONFIG_IPV6 */
	struct in6_addr skc_v6_rcv_saddr; /* absent without CONFIG_IPV6 */
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	int sk_err_soft;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct inet_sock {
	struct sock sk;
	__u16 inet_sport; /* network byte order; outlives skc_num */
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 segs_in;
	__u32 segs_out;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 srtt_us; /* eight times the smoothed round trip */
	__u32 total_retrans;
	__u32 delivered_ce;
	__u32 reord_seen;
	__u32 rcv_ooopack;
	__u16 total_rto;	    /* from 6.7 */
	__u16 total_rto_recoveries; /* from 6.7 */
};

struct mptcp_sock { /* absent without CONFIG_MPTCP */
	struct sock *first; /* of a listener: the TCP socket that listens for it */
};

struct kernfs_node {
	const char *name;
	__u64 id;
	struct kernfs_node *parent;   /* before 6.15 */
	struct kernfs_node *__parent; /* since */
};

struct cgroup {
	struct kernfs_node *kn;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

enum cgroup_subsys_id {
	pids_cgrp_id, /* its number depends on the kernel's configuration */
};

struct css_set {
	struct cgroup_subsys_state *subsys[64];
	struct cgroup *dfl_cgrp;
};

struct mm_struct {
	unsigned long env_start;
	unsigned long env_end;
};

struct task_struct {
	int pid;
	int tgid;
	struct mm_struct *mm;
	__u64 start_boottime; /* nanoseconds since boot, suspended time included */
	__u64 self_exec_id;   /* grows with each execve */
	struct task_struct *group_leader;
	struct css_set *cgroups;
	char comm[16];
};

struct file;

struct socket {
	struct sock *sk;
};

struct bpf_iter__bpf_sk_storage_map {
	struct sock *sk;
	void *value;
};

struct bpf_iter__tcp {
	struct sock_common *sk_common;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

#pragma clang attribute pop

#endif
