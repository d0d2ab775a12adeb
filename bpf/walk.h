/* SPDX-License-Identifier: Dual MIT/GPL */
/* A walk: what it does with each open socket. */
#ifndef SOCKTALLY_WALK_H
#define SOCKTALLY_WALK_H

/* Written by user space before each walk. */
volatile __u32 walk_number;

/* Set before load: the network namespace of user space. iter/tcp shows all sockets of this one. */
const volatile __u32 current_netns = 0;

/* Read by user space: 1 once a socket of another network namespace was seen. */
volatile __u32 seen_other_netns;

static __always_inline void note_netns(const struct sock *sk)
{
	if (!seen_other_netns && netns_of(sk) != current_netns)
		seen_other_netns = 1;
}

static __always_inline void subtract(const struct counts *now, const struct counts *base,
				     struct flow *delta)
{
	delta->sent = now->sent - base->sent;
	delta->received = now->received - base->received;
	delta->segs_out = now->segs_out - base->segs_out;
	delta->segs_in = now->segs_in - base->segs_in;
	delta->retransmits = now->retransmits - base->retransmits;
	delta->delivered_ce = now->delivered_ce - base->delivered_ce;
	delta->reord_seen = now->reord_seen - base->reord_seen;
	delta->ooo = now->ooo - base->ooo;
	delta->rtos = (__u16)(now->rtos - base->rtos);
	delta->rto_recoveries = (__u16)(now->rto_recoveries - base->rto_recoveries);
	delta->established = now->established - base->established;
}

static __always_inline void add_rtt_and_name(const struct tcp_sock *tp, const struct tracked *t,
				     struct flow *delta)
{
	__u32 rtt = tp->srtt_us >> 3;

	__builtin_memcpy(delta->comm, t->comm, sizeof(delta->comm));
	if (rtt) {
		delta->rtt_sum = rtt;
		delta->rtt_samples = 1;
	}
}

/* A walk reads without the lock of the socket. So it may see a FIN that the kernel has added to the bytes but not
 * yet marked as a FIN, and the next walk sees one byte less. A counter must not go back: it keeps the old value
 * until it grows again. */
static __always_inline void clamp_to_base(struct counts *now, const struct counts *base)
{
	if ((__s64)(now->sent - base->sent) < 0)
		now->sent = base->sent;
	if ((__s64)(now->received - base->received) < 0)
		now->received = base->received;
}

static __always_inline bool unchanged(const struct counts *now, const struct counts *base)
{
	return now->segs_out == base->segs_out && now->segs_in == base->segs_in &&
	       now->sent == base->sent && now->received == base->received &&
	       now->established == base->established;
}

/* Adds to a flow what one socket has counted since the last walk. */
static __always_inline void tally(struct sock *sk, struct tracked *t)
{
	struct counts now = {};
	struct flow delta = {};
	struct flow_key key = {};
	struct counts *base, *other;
	struct tcp_sock *tp;
	__u32 baseline;
	int state;

	baseline = t->baseline;
	state = sk->__sk_common.skc_state;
	if ((baseline & BASELINE_CLOSED) || t->role == ROLE_NONE || state == TCP_LISTEN || state == TCP_CLOSE)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	base = &t->base[0];
	other = &t->base[1];
	if (baseline & BASELINE_SLOT) {
		base = &t->base[1];
		other = &t->base[0];
	}
	read_traffic(tp, t, state, &now);
	clamp_to_base(&now, base);
	if (unchanged(&now, base))
		return;
	read_congestion(tp, &now);
	subtract(&now, base, &delta);
	add_rtt_and_name(tp, t, &delta);
	key_of(tp, t, &key);
	*other = now;
	/* If this fails, the socket has closed in the meantime, and the close has counted everything. What was
	 * read here may even belong to a new socket in the same memory. So it is not used. */
	if (__sync_val_compare_and_swap(&t->baseline, baseline, baseline ^ BASELINE_SLOT) == baseline)
		add_to_flow(&key, &delta);
}

/* Several descriptors may be open for one socket. A walk over files sees it once for each of them. */
static __always_inline void tally_once(struct sock *sk)
{
	struct tracked *t = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (!t || t->walked == walk_number)
		return;
	t->walked = walk_number;
	tally(sk, t);
}

#endif
