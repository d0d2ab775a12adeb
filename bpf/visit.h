/* SPDX-License-Identifier: Dual MIT/GPL */
/* Finds one socket by its addresses and ports. User space gets them from sock_diag. */
#ifndef SOCKTALLY_VISIT_H
#define SOCKTALLY_VISIT_H

/* The socket to visit and, while seeding, its owner. */
struct visit {
	__u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u8 comm[16];
	__u64 cgroup;
	__u64 start_id;
	__u32 pid;
	__u32 is_ipv6;
	__be16 local_port;
	__be16 remote_port;
	__u32 pad;
};

/* Written by user space before each visit. */
volatile struct visit wanted;

struct bpf_sock_tuple {
	union {
		struct {
			__be32 saddr;
			__be32 daddr;
			__be16 sport;
			__be16 dport;
		} ipv4;
		struct {
			__be32 saddr[4];
			__be32 daddr[4];
			__be16 sport;
			__be16 dport;
		} ipv6;
	};
};

/* The kernel looks up the socket that would receive a packet, in the network namespace of the thread that runs
 * the program. The caller releases the socket. */
static __always_inline struct bpf_sock *visited_socket(struct __sk_buff *skb)
{
	volatile __u32 *local = (volatile __u32 *)wanted.local;
	volatile __u32 *remote = (volatile __u32 *)wanted.remote;
	struct bpf_sock_tuple tuple = {};

	if (!wanted.is_ipv6) {
		tuple.ipv4.saddr = remote[3];
		tuple.ipv4.daddr = local[3];
		tuple.ipv4.sport = wanted.remote_port;
		tuple.ipv4.dport = wanted.local_port;
		return bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	for (int i = 0; i < 4; i++) {
		tuple.ipv6.saddr[i] = remote[i];
		tuple.ipv6.daddr[i] = local[i];
	}
	tuple.ipv6.sport = wanted.remote_port;
	tuple.ipv6.dport = wanted.local_port;
	return bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline void visited_owner(struct tracked *owner)
{
	for (int i = 0; i < 16; i++)
		owner->comm[i] = wanted.comm[i];
	owner->cgroup = wanted.cgroup;
	owner->start_id = wanted.start_id;
	owner->pid = wanted.pid;
}

#endif
