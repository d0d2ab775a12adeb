/* SPDX-License-Identifier: Dual MIT/GPL */
/* Sockets that are older than the programs. Only what they do from now on is counted. */
#ifndef SOCKTALLY_SEED_H
#define SOCKTALLY_SEED_H

struct listening {
	__u32 netns;
	__u32 port;
};

/* Written by user space. It runs the seeding programs once for each pass. */
enum seed_pass {
	SEED_LISTENERS = 0,
	SEED_CONNECTIONS,
	SEED_PEERS,
	SEED_DONE,
};
volatile __u32 seeding = SEED_LISTENERS;

/* Read by user space after seeding: whether this kernel has the fields that Linux 6.7 added. */
volatile __u32 counts_rtos;

static __always_inline void note_kernel(void)
{
	counts_rtos = bpf_core_field_exists(struct tcp_sock, total_rto);
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct listening);
	__type(value, __u8);
} listeners SEC(".maps");

/* Used while seeding. An MPTCP socket has a file; the TCP socket below it has none. This map has the owner of
 * such a TCP socket. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64); /* kernel address of the TCP socket */
	__type(value, struct tracked);
} mptcp_owners SEC(".maps");

static __always_inline __u8 seeded_role(const struct sock *sk, const struct tcp_sock *tp, int state)
{
	struct listening l = {.netns = netns_of(sk), .port = local_port(tp)};

	if (state == TCP_LISTEN || bpf_map_lookup_elem(&listeners, &l))
		return ROLE_SERVER;
	if (state == TCP_SYN_SENT)
		return ROLE_CLIENT;
	/* If the remote port is listened on in this namespace, the peer is the server. Else the lower port
	 * is taken for the server's. */
	l.port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (bpf_map_lookup_elem(&listeners, &l) || l.port < local_port(tp))
		return ROLE_CLIENT;
	return ROLE_SERVER;
}

/* The counters so far become the baseline, so they are not counted. */
static __always_inline void seed_connection(struct sock *sk, struct tcp_sock *tp,
					    struct tracked *fresh, int state)
{
	struct tracked *t;

	fresh->seeded = 1;
	fresh->role = seeded_role(sk, tp, state);
	fresh->origin = is_connecting(state) ? 0 : origin_of(tp);
	read_counts(tp, fresh, state, &fresh->base[0]);
	t = bpf_sk_storage_get(&sockets, sk, fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (t && t->seeded && t->role == ROLE_CLIENT)
		match_peer(tp, t);
}

/* If there is a task, it is the owner. Else owner has the fields of the owner, or zeros if nobody is known.
 * owner becomes the storage of the socket. */
static __always_inline void seed(struct sock *sk, struct task_struct *task, struct tracked *owner)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct listening l = {};
	struct tracked *t;
	__u8 yes = 1;
	int state;

	if (!tp || !in_scope(sk))
		return;
	state = sk->__sk_common.skc_state;
	if (state == TCP_CLOSE || (state == TCP_LISTEN) != (seeding == SEED_LISTENERS))
		return;
	t = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (seeding == SEED_PEERS) {
		if (t && t->seeded && t->role == ROLE_SERVER && !t->peer_is_local)
			match_peer(tp, t);
		return;
	}
	if (t)
		return;
	if (task)
		set_owner(owner->comm, &owner->cgroup, &owner->start_id, &owner->pid, task);
	note_netns(sk);
	if (state != TCP_LISTEN) {
		seed_connection(sk, tp, owner, state);
		return;
	}
	owner->role = ROLE_SERVER;
	l.netns = netns_of(sk);
	l.port = local_port(tp);
	bpf_map_update_elem(&listeners, &l, &yes, BPF_ANY);
	bpf_sk_storage_get(&sockets, sk, owner, BPF_SK_STORAGE_GET_F_CREATE);
}

/* Servers written in Go listen by MPTCP by default. Such a socket is no TCP socket, but has one below it. */
static __always_inline void note_mptcp(struct sock *sk, struct task_struct *task)
{
	struct mptcp_sock *leader = (struct mptcp_sock *)sk;
	struct tracked held = {};
	__u64 first = 0;

	if (sk->sk_protocol != IPPROTO_MPTCP || !bpf_core_field_exists(leader->first))
		return;
	set_owner(held.comm, &held.cgroup, &held.start_id, &held.pid, task);
	bpf_probe_read_kernel(&first, sizeof(first), &leader->first);
	if (first)
		bpf_map_update_elem(&mptcp_owners, &first, &held, BPF_NOEXIST);
}

static __always_inline void find_mptcp_owner(const struct tcp_sock *tp, struct tracked *owner)
{
	__u64 address = (unsigned long)tp;
	const struct tracked *held = bpf_map_lookup_elem(&mptcp_owners, &address);

	if (held)
		*owner = *held;
}

#endif
