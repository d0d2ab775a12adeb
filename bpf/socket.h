/* SPDX-License-Identifier: Dual MIT/GPL */
/* Reads a TCP socket: the key of its flow, its handshake and its counters. */
#ifndef SOCKTALLY_SOCKET_H
#define SOCKTALLY_SOCKET_H

/* A client whose connection was just established. If its server is on this host, it follows soon. */
struct handshake {
	__u8 client[16];
	__u8 server[16];
	__u32 netns; /* 0, unless the addresses are local to a network namespace */
	__u16 client_port;
	__u16 server_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, struct handshake);
	__type(value, __u32); /* the client's pid */
} handshakes SEC(".maps");

static __always_inline void copy_ipv6(__u8 *to, const struct in6_addr *from)
{
	__u32 *words = (__u32 *)to;

	words[0] = from->in6_u.u6_addr32[0];
	words[1] = from->in6_u.u6_addr32[1];
	words[2] = from->in6_u.u6_addr32[2];
	words[3] = from->in6_u.u6_addr32[3];
}

/* An IPv6 socket with an IPv4 peer has IPv4-mapped IPv6 addresses already. */
static __always_inline void addresses(const struct sock *sk, __u8 *local, __u8 *remote)
{
	const struct sock_common *common = &sk->__sk_common;

	if (common->skc_family == AF_INET6 && bpf_core_field_exists(common->skc_v6_daddr)) {
		copy_ipv6(local, &common->skc_v6_rcv_saddr);
		copy_ipv6(remote, &common->skc_v6_daddr);
		return;
	}
	map_ipv4(local, common->skc_rcv_saddr);
	map_ipv4(remote, common->skc_daddr);
}

static __always_inline __u16 local_port(const struct tcp_sock *tp)
{
	return bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
}

static __always_inline void key_of(struct tcp_sock *tp, const struct tracked *t, struct flow_key *key)
{
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	addresses(sk, key->local, key->remote);
	key->cgroup = t->cgroup;
	key->start_id = t->start_id;
	key->netns = netns_of(sk);
	key->pid = t->pid;
	key->peer_pid = t->peer_pid;
	key->port = t->role == ROLE_CLIENT ? bpf_ntohs(sk->__sk_common.skc_dport) : local_port(tp);
	key->role = t->role;
	key->peer_is_local = t->peer_is_local;
}

static __always_inline void handshake_of(struct tcp_sock *tp, __u8 role, struct handshake *h)
{
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	if (role == ROLE_CLIENT) {
		addresses(sk, h->client, h->server);
		h->client_port = local_port(tp);
		h->server_port = bpf_ntohs(sk->__sk_common.skc_dport);
	} else {
		addresses(sk, h->server, h->client);
		h->client_port = bpf_ntohs(sk->__sk_common.skc_dport);
		h->server_port = local_port(tp);
	}
	h->netns = addresses_are_netns_local(h->client, h->server) ? netns_of(sk) : 0;
}

/* In the three-way handshake, the client is established before the server. So if a server finds its client in
 * the map, both ends are on this host. */
static __always_inline void match_peer(struct tcp_sock *tp, struct tracked *t)
{
	struct handshake h = {};
	__u32 *client_pid;

	handshake_of(tp, t->role, &h);
	if (t->role == ROLE_CLIENT) {
		bpf_map_update_elem(&handshakes, &h, &t->pid, BPF_ANY);
		return;
	}
	client_pid = bpf_map_lookup_elem(&handshakes, &h);
	if (!client_pid)
		return;
	t->peer_is_local = 1;
	t->peer_pid = *client_pid;
}

static __always_inline bool is_connecting(int state)
{
	return state == TCP_SYN_SENT || state == TCP_SYN_RECV;
}

/* For an established connection: bytes_acked less snd_una, in 32 bits. It does not change any more. */
static __always_inline __u64 origin_of(const struct tcp_sock *tp)
{
	return ORIGIN_ESTABLISHED | ((__u32)tp->bytes_acked - tp->snd_una);
}

static __always_inline bool fin_is_queued(int state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_TIME_WAIT ||
	       state == TCP_LAST_ACK || state == TCP_CLOSING;
}

/*
 * How many bytes of the application were sent, each counted once.
 *
 * tcp_sock has no such counter:
 * - bytes_sent less bytes_retrans is too large if a queue or a filter on this host drops a segment. The
 *   kernel then counts it as sent at each try.
 * - bytes_acked is too small: it lacks what is in flight. After a reset that is never acknowledged.
 *
 * So this takes all sequence numbers up to SND.NXT. bytes_acked gives the upper 32 bits. The SYN and the FIN
 * take one number each and are subtracted. bytes_acked includes the SYN only at the client.
 */
static __always_inline __u64 bytes_sent(const struct tcp_sock *tp, const struct tracked *t,
					__u32 una_offset, int state)
{
	__u64 acked = tp->bytes_acked;
	__u32 next = tp->snd_nxt;
	__u64 sent = acked + (__s32)(next + una_offset - (__u32)acked);

	if (t->role == ROLE_CLIENT)
		sent--;
	if (fin_is_queued(state) && next == tp->write_seq)
		sent--;
	return sent;
}

/* If these counters have not changed, no other counter has: nothing happens to a connection without a segment.
 * They are in few cache lines. For most sockets a walk reads only these. */
static __always_inline void read_traffic(struct tcp_sock *tp, const struct tracked *t, int state,
					 struct counts *c)
{
	__u64 origin = t->origin;

	c->established = !!(origin & ORIGIN_ESTABLISHED);
	c->sent = c->established ? bytes_sent(tp, t, origin, state) : 0;
	/* The kernel counts the peer's FIN as one byte. */
	c->received = tp->bytes_received;
	if (tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags & SOCK_DONE_BIT)
		c->received--;
	c->segs_out = tp->segs_out;
	c->segs_in = tp->segs_in;
}

static __always_inline void read_congestion(struct tcp_sock *tp, struct counts *c)
{
	c->retransmits = tp->total_retrans;
	c->delivered_ce = tp->delivered_ce;
	c->reord_seen = tp->reord_seen;
	c->ooo = tp->rcv_ooopack;
	c->rtos = bpf_core_field_exists(tp->total_rto) ? tp->total_rto : 0;
	c->rto_recoveries =
		bpf_core_field_exists(tp->total_rto_recoveries) ? tp->total_rto_recoveries : 0;
}

static __always_inline void read_counts(struct tcp_sock *tp, const struct tracked *t, int state,
					struct counts *c)
{
	read_traffic(tp, t, state, c);
	read_congestion(tp, c);
}

#endif
