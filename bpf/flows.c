//go:build ignore
// SPDX-License-Identifier: Dual MIT/GPL
/*
 * Counts TCP flows. The kernel keeps counters in each socket; these programs read them. No program runs for
 * a send, a receive or a packet. Some run when a socket changes its state. One walks over all open sockets
 * once an interval.
 *
 * Counts are exact because of one rule. The storage of a socket has a baseline: the counters that were
 * added to a flow so far. Only the difference to the baseline is added. One atomic operation moves the
 * baseline: a walk's compare-and-swap moves it to the other slot; a close's fetch-and-or marks it as closed,
 * and after that no walk can move it. A walk and a close may run at the same time on two CPUs, in any order:
 * each count is added once.
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

/* The last change that socket_changed handled on a CPU. socket_changed_again skips it. */
struct change {
	__u64 sk; /* 0: none */
	__u32 state;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct change);
} last_change SEC(".maps");

/*
 * sk_err has the reason: the kernel sets it before it changes the state.
 * - A reset that this end sends does not set sk_err.
 * - A reset that arrives when no process has the socket open any more is not counted: nobody waits for it.
 * - After the peer's FIN, a received reset sets EPIPE.
 * - A process may give up while the kernel still sends SYNs. Then sk_err_soft has the last ICMP error.
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
	case EACCES: /* ICMPv6: administratively prohibited */
		delta->unreachable = 1;
		break;
	}
}

/* Runs in process context: the current task owns the socket. A socket can be used for a second connection.
 * It then gets new storage, because a walk may still use the old one. */
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

/* If a socket has no storage when it is established, it gets it now. Its owner stays unknown. Its counts are
 * complete, because the baseline is zero. */
static __always_inline struct tracked *get_or_create_storage(struct sock *sk, int oldstate)
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

/* A packet caused this change, so the current task may be any process. */
static __always_inline void establish(struct sock *sk, struct tcp_sock *tp, int oldstate)
{
	struct tracked *t = get_or_create_storage(sk, oldstate);

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
		t = get_or_create_storage(sk, oldstate);
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

/* Always runs in process context. So an interrupt cannot need this program while it runs on the same CPU. */
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

/* The TCP socket, if it is in scope and the change opens or closes a connection; else NULL. */
static __always_inline struct tcp_sock *counted_socket(struct sock *sk, int oldstate, int newstate)
{
	if (newstate != TCP_CLOSE && !is_connecting(oldstate))
		return NULL;
	if (oldstate == TCP_LISTEN || oldstate == TCP_CLOSE || newstate == TCP_SYN_RECV)
		return NULL;
	return in_scope(sk) ? bpf_skc_to_tcp_sock(sk) : NULL;
}

static __always_inline void handle_change(struct sock *sk, struct tcp_sock *tp, int oldstate, int newstate,
					  bool again)
{
	if (newstate == TCP_CLOSE)
		count_close(sk, tp, oldstate, again);
	else
		establish(sk, tp, oldstate);
}

/*
 * The kernel does not run a tracing program on a CPU where the same program is running already. So an
 * interrupt can change the state of a socket unseen, if it comes while socket_changed runs. Therefore a second
 * program, socket_changed_again, is attached to the same tracepoint. The kernel runs it after the first. One of
 * the two sees the change in the interrupt. Most changes are seen by both. last_change tells the second one
 * what the first one has handled. If last_change has another socket already, the change is handled twice, which
 * does no harm.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_changed, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp = counted_socket(sk, oldstate, newstate);
	__u32 zero = 0;
	struct change *latest;

	if (!tp)
		return 0;
	handle_change(sk, tp, oldstate, newstate, 0);
	latest = bpf_map_lookup_elem(&last_change, &zero);
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
	latest = bpf_map_lookup_elem(&last_change, &zero);
	if (latest && latest->sk == (__u64)sk && latest->state == (__u32)newstate) {
		latest->sk = 0;
		return 0;
	}
	tp = counted_socket(sk, oldstate, newstate);
	if (tp)
		handle_change(sk, tp, oldstate, newstate, 1);
	return 0;
}

/* Visits every TCP socket that has storage, in all network namespaces. */
SEC("iter/bpf_sk_storage_map")
int walk_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct tracked *t = ctx->value;
	struct sock *sk = ctx->sk;

	if (t && sk)
		tally(sk, t);
	return 0;
}

/* Visits every TCP socket that a process has open, in all network namespaces. If threads share a table of
 * files, the kernel shows that table once. */
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

/* Visits every TCP socket in the reader's network namespace, also those that no process has open. */
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

/* Visits every socket that a process has open, in all network namespaces, and notes the owner. */
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

/* Visits every TCP socket in the reader's network namespace. Some are open in no process: those that are not
 * accepted yet, and those that a process has closed but the kernel has not. */
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
	find_mptcp_owner(tp, &owner);
	seed((struct sock *)tp, NULL, &owner);
	return 0;
}

/* Visits the one socket that user space asks for. It is used where the kernel allows no iterator. It is not
 * attached: user space runs it by BPF_PROG_RUN. */
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
