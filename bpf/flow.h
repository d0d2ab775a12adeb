/* SPDX-License-Identifier: Dual MIT/GPL */
/* Shared by all programs: flows, flow tables and counters of losses. */
#ifndef SOCKTALLY_FLOW_H
#define SOCKTALLY_FLOW_H

/* Which end of a connection a socket is. */
enum role {
	ROLE_NONE = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* A flow is all connections, or all datagrams, with the same owner, addresses and server port. If only role
 * and peer_is_local are set, the key is that of an overflow record. */
struct flow_key {
	__u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u64 cgroup;
	__u64 start_id; /* of the process: see start_id_of */
	__u32 netns;
	__u32 pid;
	__u32 peer_pid; /* for a server: the pid of its client, if that is on this host */
	__u16 port;	/* the server's, in host byte order */
	__u8 role;
	__u8 peer_is_local;
};

/* The counters of a flow in one interval. UDP uses only sent, received, segs_out and segs_in; there,
 * a segment is a datagram. */
struct flow {
	__u8 comm[16];
	__u64 sent;
	__u64 received;
	__u64 segs_out;
	__u64 segs_in;
	__u64 rtt_sum; /* microseconds, the sum of rtt_samples values */
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

/* Why something was not counted, or not under its own key. */
enum loss {
	LOSS_STORAGE = 0,   /* no memory for the storage of a socket */
	LOSS_TABLE_FULL,    /* the table is full: added to an overflow record */
	LOSS_UNTRACKED,	    /* a connection without storage has closed: not counted */
	LOSS_UNCOUNTED,	    /* there was no table: the counts are lost */
	LOSS_DNS,	    /* no room in the ring buffer for a DNS packet */
	LOSS_UNOWNED,	    /* the start of a connection was not seen: counted without an owner */
	LOSS_PROCESS,	    /* no room in the ring buffer for a process */
	LOSS_KINDS,
};

/* Set before load: the network namespace to count in, 0 for all. */
const volatile __u32 only_netns = 0;

struct flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, struct flow_key);
	__type(value, struct flow);
};

/* A double buffer: the programs fill one table while user space empties the other. The update of this
 * map returns only when no program uses the old table any more, so no count is lost in the exchange. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct flow_table);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

static __always_inline void count_loss(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &kind);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline __u32 netns_of(const struct sock *sk)
{
	if (!bpf_core_field_exists(sk->__sk_common.skc_net.net))
		return 0;
	return sk->__sk_common.skc_net.net->ns.inum;
}

static __always_inline bool in_scope(const struct sock *sk)
{
	return !only_netns || netns_of(sk) == only_netns;
}

static __always_inline void map_ipv4(__u8 *to, __u32 from)
{
	__u32 *words = (__u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = from;
}

/* Each network namespace has its own loopback addresses. A pair of equal addresses, too, may exist in several
 * namespaces at once. */
static __always_inline bool addresses_are_netns_local(const __u8 *here, const __u8 *there)
{
	const __u32 *a = (const __u32 *)here, *b = (const __u32 *)there;

	if (a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3])
		return 1;
	return a[2] == bpf_htonl(0xffff) &&
	       (a[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

#define ADD(field)                                                                                 \
	if (delta->field)                                                                          \
	__sync_fetch_and_add(&flow->field, delta->field)

static __always_inline void add(struct flow *flow, const struct flow *delta)
{
	ADD(sent);
	ADD(received);
	ADD(segs_out);
	ADD(segs_in);
	ADD(rtt_sum);
	ADD(rtt_samples);
	ADD(retransmits);
	ADD(established);
	ADD(closed);
	ADD(refused);
	ADD(reset);
	ADD(timed_out);
	ADD(unreachable);
	ADD(delivered_ce);
	ADD(reord_seen);
	ADD(ooo);
	ADD(rtos);
	ADD(rto_recoveries);
}

/* Only role and peer_is_local remain. The table has these keys from the start. */
static __always_inline void make_overflow_key(struct flow_key *key)
{
	__u8 role = key->role, peer_is_local = key->peer_is_local;

	__builtin_memset(key, 0, sizeof(*key));
	key->role = role;
	key->peer_is_local = peer_is_local;
}

/* If the insert fails, because the table is full or busy, the counts go to an overflow record. So the sums
 * stay exact. */
static __always_inline void add_to_flow(struct flow_key *key, const struct flow *delta)
{
	__u32 zero = 0;
	struct flow *flow;
	void *table = bpf_map_lookup_elem(&flows, &zero);

	if (!table) {
		count_loss(LOSS_UNCOUNTED);
		return;
	}
	flow = bpf_map_lookup_elem(table, key);
	if (!flow) {
		if (!bpf_map_update_elem(table, key, delta, BPF_NOEXIST))
			return;
		flow = bpf_map_lookup_elem(table, key); /* another CPU may have been first */
	}
	if (!flow) {
		count_loss(LOSS_TABLE_FULL);
		make_overflow_key(key);
		flow = bpf_map_lookup_elem(table, key);
	}
	if (!flow) {
		count_loss(LOSS_UNCOUNTED);
		return;
	}
	add(flow, delta);
}

#endif
