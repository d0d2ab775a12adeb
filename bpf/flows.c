//go:build ignore
// SPDX-License-Identifier: Dual MIT/GPL
/*
 * Counts TCP flows from what the kernel counts anyway. Nothing runs for a send, a receive or a
 * packet: some programs run when a socket changes state, one walks the live sockets once an interval.
 *
 * Exactness rests on one rule. A socket's counts are taken from it by differences to a baseline in
 * its storage, and a baseline is moved by exactly one atomic operation: the walk's compare-and-swap,
 * which moves it to the other slot, or the close's fetch-and-or, after which no walk can move it. So
 * whatever the order in which a walk and a close on another CPU meet, each count is taken once.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "flow.h"
#include "process.h"
#include "tracked.h"
#include "socket.h"
#include "walk.h"
#include "seed.h"
#include "packet.h"
#include "visit.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Emit the types for the Go side, and for the inner map, in full. */
const struct flow_key *unused_flow_key __attribute__((unused));
const struct flow *unused_flow __attribute__((unused));
const enum loss *unused_loss __attribute__((unused));
const enum role *unused_role __attribute__((unused));
const enum seed_pass *unused_seed_pass __attribute__((unused));

/* What socket_changed did last on a CPU. */
struct change {
	__u64 sk; /* 0: nothing that its double need not do */
	__u32 state;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct change);
} latest_change SEC(".maps");

/*
 * sk_err still holds why: the kernel sets it before the state. A reset that this end sends leaves it
 * alone, and one that comes when no process holds the socket any more ends nothing that anybody
 * waits for. A reset received when the peer's FIN was in already is an EPIPE. An attempt that its
 * process gave up failed by the last ICMP error, which the kernel was still trying to overcome.
 */
static __always_inline void classify_ending(const struct sock *sk, int oldstate, struct flow *delta)
{
	bool held = !(sk->__sk_common.skc_flags & SOCK_DEAD_BIT);
	int error = sk->sk_err;

	if (!error && oldstate == TCP_SYN_SENT)
		error = sk->sk_err_soft;
	switch (error) {
	case ECONNREFUSED:
		delta->refused = 1;
		break;
	case ECONNRESET:
		delta->reset = held;
		break;
	case EPIPE:
		delta->reset = held && oldstate == TCP_CLOSE_WAIT;
		break;
	case ETIMEDOUT:
		delta->timed_out = 1;
		break;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENONET:
	case EACCES: /* what ICMPv6 calls administratively prohibited */
		delta->unreachable = 1;
		break;
	}
}

/* In process context: the current task owns the socket. A socket used for a second connection gets
 * new storage, so that a walk that still holds the old one can spoil nothing. */
static __always_inline void track(struct sock *sk, __u8 role)
{
	struct tracked fresh = {};
	struct tracked *t;

	fresh.role = role;
	set_owner(fresh.comm, &fresh.cgroup, &fresh.start_id, &fresh.pid, bpf_get_current_task_btf());
	t = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (t && ((t->baseline & BASELINE_CLOSED) || t->role != role)) {
		bpf_sk_storage_delete(&sockets, sk);
		t = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (!t)
		count_loss(LOSS_STORAGE);
	note_netns(sk);
}

/* A socket that had no storage while it connected gets it late: its owner stays unknown, but its
 * counts are from its beginning. */
static __always_inline struct tracked *storage_from_birth(struct sock *sk, int oldstate)
{
	struct tracked *t =
		bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!t) {
		count_loss(LOSS_STORAGE);
	} else if (t->role == ROLE_NONE) {
		t->role = oldstate == TCP_SYN_SENT ? ROLE_CLIENT : ROLE_SERVER;
		if (seeding == SEED_DONE)
			count_loss(LOSS_UNOWNED);
	}
	return t;
}

/* Runs where a packet made the change: the current task is anybody. */
static __always_inline void establish(struct sock *sk, struct tcp_sock *tp, int oldstate)
{
	struct tracked *t = storage_from_birth(sk, oldstate);

	if (!t || t->origin)
		return;
	t->origin = origin_of(tp);
	note_netns(sk);
	match_peer(tp, t);
}

static __always_inline void count_close(struct sock *sk, struct tcp_sock *tp, int oldstate, bool again)
{
	struct flow delta = {};
	struct flow_key key = {};
	struct counts now = {};
	struct tracked *t;
	__u32 baseline;

	if (oldstate == TCP_SYN_SENT)
		t = storage_from_birth(sk, oldstate);
	else
		t = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!t) {
		if (oldstate != TCP_SYN_SENT && seeding == SEED_DONE && !again)
			count_loss(LOSS_UNTRACKED);
		return;
	}
	baseline = __sync_fetch_and_or(&t->baseline, BASELINE_CLOSED);
	if (baseline & BASELINE_CLOSED)
		return;
	read_counts(tp, t, oldstate, &now);
	subtract(&now, baseline & BASELINE_SLOT ? &t->base[1] : &t->base[0], &delta);
	delta.closed = now.established;
	classify_ending(sk, oldstate, &delta);
	add_rtt_and_name(tp, t, &delta);
	key_of(tp, t, &key);
	add_to_flow(&key, &delta);
}

/* In process context, and so never in the way of itself. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_opened, struct sock *sk, int oldstate, int newstate)
{
	if (newstate != TCP_SYN_SENT && newstate != TCP_LISTEN)
		return 0;
	if (!bpf_skc_to_tcp_sock(sk) || !in_scope(sk))
		return 0;
	track(sk, newstate == TCP_SYN_SENT ? ROLE_CLIENT : ROLE_SERVER);
	return 0;
}

/* Whether a change is one that counts, and of a socket that counts. */
static __always_inline struct tcp_sock *concerned(struct sock *sk, int oldstate, int newstate)
{
	if (newstate != TCP_CLOSE && !is_connecting(oldstate))
		return NULL;
	if (oldstate == TCP_LISTEN || oldstate == TCP_CLOSE || newstate == TCP_SYN_RECV)
		return NULL;
	return in_scope(sk) ? bpf_skc_to_tcp_sock(sk) : NULL;
}

static __always_inline void change(struct sock *sk, struct tcp_sock *tp, int oldstate, int newstate,
				   bool again)
{
	if (newstate == TCP_CLOSE)
		count_close(sk, tp, oldstate, again);
	else
		establish(sk, tp, oldstate);
}

/*
 * The kernel runs a tracing program once at a time on a CPU: what happens in an interrupt of it is not
 * shown to it. So there are two, one after the other. An interrupt of the one is shown to the other, and
 * what both are shown is done once: mostly because the first says what it has done, and else because
 * doing it again changes nothing.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_changed, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp = concerned(sk, oldstate, newstate);
	__u32 zero = 0;
	struct change *latest;

	if (!tp)
		return 0;
	change(sk, tp, oldstate, newstate, 0);
	latest = bpf_map_lookup_elem(&latest_change, &zero);
	if (latest) {
		latest->sk = (__u64)sk;
		latest->state = newstate;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_changed_again, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp;
	__u32 zero = 0;
	struct change *latest;

	if (newstate != TCP_CLOSE && !is_connecting(oldstate))
		return 0;
	latest = bpf_map_lookup_elem(&latest_change, &zero);
	if (latest && latest->sk == (__u64)sk && latest->state == (__u32)newstate) {
		latest->sk = 0;
		return 0;
	}
	tp = concerned(sk, oldstate, newstate);
	if (tp)
		change(sk, tp, oldstate, newstate, 1);
	return 0;
}

/* Every TCP socket that has storage, in every network namespace. */
SEC("iter/bpf_sk_storage_map")
int walk_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct tracked *t = ctx->value;
	struct sock *sk = ctx->sk;

	if (t && sk)
		tally(sk, t);
	return 0;
}

/* Every TCP socket that a process holds open, whatever its network namespace. The kernel shows a
 * table of files once, however many threads share it. */
SEC("iter/task_file")
int walk_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (sk && sk->sk_protocol == IPPROTO_TCP)
		tally_once(sk);
	return 0;
}

/* Every TCP socket of the reader's network namespace, also those that no process holds. */
SEC("iter/tcp")
int walk_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tp;

	if (!common)
		return 0;
	tp = bpf_skc_to_tcp_sock(common);
	if (tp)
		tally_once((struct sock *)tp);
	return 0;
}

/* Every socket that a process holds open, with its owner, whatever its network namespace. */
SEC("iter/task_file")
int seed_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tracked owner = {};
	struct socket *socket;

	note_kernel();
	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	note_mptcp(socket->sk, task);
	seed(socket->sk, task, &owner);
	return 0;
}

/* Every TCP socket of the reader's network namespace, also those that no process holds: not yet
 * accepted, or already given up. */
SEC("iter/tcp")
int seed_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tracked owner = {};
	struct tcp_sock *tp;

	note_kernel();
	if (!common)
		return 0;
	tp = bpf_skc_to_tcp_sock(common);
	if (!tp)
		return 0;
	find_holder(tp, &owner);
	seed((struct sock *)tp, NULL, &owner);
	return 0;
}

/* The one socket that user space asks for, where the kernel allows no iterator. It is never attached:
 * user space runs it. */
SEC("cgroup_skb/egress")
int visit_socket(struct __sk_buff *skb)
{
	struct tracked owner = {};
	struct bpf_sock *found;
	struct tcp_sock *tp;

	note_kernel();
	found = visited_socket(skb);
	if (!found)
		return 0;
	tp = bpf_skc_to_tcp_sock(found);
	if (tp && seeding == SEED_DONE) {
		tally_once((struct sock *)tp);
	} else if (tp) {
		visited_owner(&owner);
		seed((struct sock *)tp, NULL, &owner);
	}
	bpf_sk_release(found);
	return 0;
}
