//go:build ignore
// SPDX-License-Identifier: Dual MIT/GPL
/*
 * Counts UDP flows. The kernel keeps no counts for a UDP socket, so two programs on the root of the
 * cgroup v2 hierarchy look at every packet that leaves or enters a socket of this host, and pass
 * over all that is neither UDP nor DNS by its first bytes. A third notes the owner of each new UDP socket.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "flow.h"
#include "process.h"
#include "tracked.h"
#include "packet.h"
#include "dns.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* One socket's storage. */
struct udp_socket {
	__u8 comm[16];
	__u64 cgroup;
	__u64 start_id;
	__u32 pid;
	__u32 netns;
	__u32 older; /* than the programs */
	__u32 pad;
};

/* What one end makes of the datagrams to and from one other address and port: who sent first, and whether both are here. */
struct conversation {
	__u32 pid;
	__u32 peer_pid; /* of a server whose client is on this host: the client's pid */
	__u8 role;
	__u8 peer_is_local;
	__u8 pad[2];
};

/* Emit the types for the Go side, and for the inner map, in full. */
const struct flow_key *unused_flow_key __attribute__((unused));
const struct flow *unused_flow __attribute__((unused));
const struct tuple *unused_tuple __attribute__((unused));
const struct conversation *unused_conversation __attribute__((unused));
const struct udp_socket *unused_udp_socket __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct udp_socket);
} udp_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, struct tuple);
	__type(value, struct conversation);
} conversations SEC(".maps");

/* Written by user space: whether udp_socket_made is refused. A socket of which nothing is known is then as
 * likely to be new. */
volatile __u32 makers_unseen;

/* What these programs see as a bpf_sock is a struct sock, but the verifier lets them read the rest of
 * it only by its address, and the address only as a copy. */
static __always_inline __u32 netns_by_address(const struct bpf_sock *sk)
{
	struct sock *from = NULL;

	if (!bpf_core_field_exists(from->__sk_common.skc_net.net))
		return 0;
	bpf_probe_read_kernel(&from, sizeof(from), &sk);
	return BPF_CORE_READ(from, __sk_common.skc_net.net, ns.inum);
}

static __always_inline bool elsewhere(__u32 netns)
{
	return only_netns && netns != only_netns;
}

/* In process context: the current task makes the socket. */
SEC("cgroup/sock_create")
int udp_socket_made(struct bpf_sock *sk)
{
	struct udp_socket fresh = {};

	if (sk->protocol != IPPROTO_UDP || sk->type != SOCK_DGRAM)
		return 1;
	fresh.netns = netns_by_address(sk);
	if (elsewhere(fresh.netns))
		return 1;
	set_owner(fresh.comm, &fresh.cgroup, &fresh.start_id, &fresh.pid, bpf_get_current_task_btf());
	if (!bpf_sk_storage_get(&udp_sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE))
		count_loss(LOSS_STORAGE);
	return 1;
}

/* A socket of which nothing is known is older than the programs and was in no process's hands when
 * they began, or was refused its storage: it is counted without an owner. */
static __always_inline void find_owner(struct bpf_sock *sk, struct udp_socket *s)
{
	struct udp_socket *known = bpf_sk_storage_get(&udp_sockets, sk, NULL, 0);

	if (known) {
		*s = *known;
		return;
	}
	s->netns = netns_by_address(sk);
	s->older = !makers_unseen;
	if (!elsewhere(s->netns) && !bpf_sk_storage_get(&udp_sockets, sk, s, BPF_SK_STORAGE_GET_F_CREATE))
		count_loss(LOSS_STORAGE);
}

static __always_inline __u8 who_began(const struct udp_socket *s, const struct tuple *t, bool out)
{
	if (s->older && t->local_port != t->remote_port)
		return t->local_port < t->remote_port ? ROLE_SERVER : ROLE_CLIENT;
	return out ? ROLE_CLIENT : ROLE_SERVER;
}

/*
 * Who sent first is the client. It does so before anybody receives, and so leaves what a server on
 * this host finds: both ends of one conversation are known to be here, and are one flow.
 */
static __always_inline void find_conversation(const struct udp_socket *s, const struct tuple *t, bool out,
				 struct conversation *c)
{
	struct conversation *known = bpf_map_lookup_elem(&conversations, t);
	struct tuple reverse = {};

	if (known) {
		*c = *known;
		return;
	}
	copy_words(reverse.local, t->remote);
	copy_words(reverse.remote, t->local);
	reverse.netns = t->netns;
	reverse.local_port = t->remote_port;
	reverse.remote_port = t->local_port;
	known = bpf_map_lookup_elem(&conversations, &reverse);
	c->pid = s->pid;
	if (!known) {
		c->role = who_began(s, t, out);
	} else if (known->role == ROLE_CLIENT) {
		c->role = ROLE_SERVER;
		c->peer_is_local = 1;
		c->peer_pid = known->pid;
	} else {
		/* A server older than the programs was the first that they saw speak. */
		c->role = ROLE_CLIENT;
		known->peer_pid = s->pid;
		known->peer_is_local = 1;
	}
	bpf_map_update_elem(&conversations, t, c, BPF_ANY);
}

/* A socket that speaks to itself would count each datagram twice. */
static __always_inline bool is_own_echo(const struct tuple *t, bool out)
{
	const __u32 *a = (const __u32 *)t->local, *b = (const __u32 *)t->remote;

	return !out && t->local_port == t->remote_port && a[0] == b[0] && a[1] == b[1] &&
	       a[2] == b[2] && a[3] == b[3];
}

/* Not inlined: what it needs on the stack is not made ready for a packet that is not UDP. */
static __attribute__((noinline)) int count(struct __sk_buff *skb, __u32 udp_at, bool out)
{
	struct conversation c = {};
	struct udp_socket s = {};
	struct flow_key key = {};
	struct flow delta = {};
	struct tuple t = {};
	struct bpf_sock *sk = skb->sk;
	__u32 payload;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_UDP || sk->type != SOCK_DGRAM)
		return 1; /* a raw socket, which sees or makes UDP packets that are not its own */
	find_owner(sk, &s);
	if (elsewhere(s.netns))
		return 1;
	if (!packet_tuple(skb, udp_at, out, &t))
		return 1;
	socket_tuple(sk, &t);
	if (addresses_are_private(t.local, t.remote))
		t.netns = s.netns;
	if (is_own_echo(&t, out))
		return 1;
	find_conversation(&s, &t, out, &c);

	copy_words(key.local, t.local);
	copy_words(key.remote, t.remote);
	key.cgroup = s.cgroup;
	key.start_id = s.start_id;
	key.netns = s.netns;
	key.pid = s.pid;
	key.peer_pid = c.peer_pid;
	key.port = c.role == ROLE_CLIENT ? t.remote_port : t.local_port;
	key.role = c.role;
	key.peer_is_local = c.peer_is_local;
	__builtin_memcpy(delta.comm, s.comm, sizeof(delta.comm));
	/* The length in the UDP header is that of one datagram where one buffer holds many. */
	payload = skb->len - udp_at - UDP_HEADER;
	if (out) {
		delta.sent = payload;
		delta.segs_out = datagrams(skb, payload);
	} else {
		delta.received = payload;
		delta.segs_in = datagrams(skb, payload);
	}
	/* Where both ends are here the client's socket has shown the packet already. */
	if (is_dns(&t) && payload && !(c.role == ROLE_SERVER && c.peer_is_local)) {
		struct dns_packet packet = {
			.tuple = t, .cgroup = s.cgroup, .start_id = s.start_id, .pid = s.pid, .netns = s.netns,
			.length = payload, .is_server = c.role == ROLE_SERVER, .out = out,
		};
		__builtin_memcpy(packet.comm, s.comm, sizeof(packet.comm));
		copy_dns(skb, udp_at + UDP_HEADER, &packet);
	}
	add_to_flow(&key, &delta);
	return 1;
}

/* A segment of DNS over TCP. Both ends of a connection show it, if both are here: by its sequence
 * number user space knows it again. A socket of which nothing is known, as where the kernel allows only
 * these programs, has no owner, and the end with the port of DNS is the server. */
static __attribute__((noinline)) int copy_segment(struct __sk_buff *skb, __u32 tcp_at, bool out)
{
	struct dns_packet packet = {};
	struct tcp_header header;
	struct tracked *owner;
	struct bpf_sock *sk = skb->sk;
	__u32 payload_at, length;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return 1;
	if (bpf_skb_load_bytes(skb, tcp_at, &header, sizeof(header)))
		return 1;
	payload_at = tcp_at + (header.words >> 4) * 4;
	packet.is_first = !!(header.flags & TCP_SYN);
	if (skb->len <= payload_at && !packet.is_first)
		return 1;
	if (!packet_tuple(skb, tcp_at, out, &packet.tuple))
		return 1;
	socket_tuple(sk, &packet.tuple);
	packet.netns = netns_by_address(sk);
	if (elsewhere(packet.netns))
		return 1;
	if (addresses_are_private(packet.tuple.local, packet.tuple.remote))
		packet.tuple.netns = packet.netns;
	packet.sequence = bpf_ntohl(header.sequence);
	packet.out = out;
	packet.is_tcp = 1;
	owner = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (owner) {
		packet.cgroup = owner->cgroup;
		packet.start_id = owner->start_id;
		packet.pid = owner->pid;
		packet.is_server = owner->role == ROLE_SERVER;
		__builtin_memcpy(packet.comm, owner->comm, sizeof(packet.comm));
	} else {
		packet.is_server = is_dns_port(packet.tuple.local_port);
	}
	length = skb->len - payload_at;
	packet.length = DNS_BULK;
#pragma unroll
	for (int i = 0; i < DNS_BULKS; i++) {
		if (length <= DNS_BULK)
			break;
		copy_dns_bulk(skb, payload_at, &packet);
		payload_at += DNS_BULK;
		length -= DNS_BULK;
		packet.sequence += DNS_BULK + packet.is_first;
		packet.is_first = 0;
	}
	packet.length = length;
	copy_dns(skb, length ? payload_at : tcp_at, &packet);
	return 1;
}

static __always_inline int classify_packet(struct __sk_buff *skb, bool out)
{
	__u32 at;

	if (protocol_of(skb) == IPPROTO_TCP) {
		at = dns_segment_at(skb);
		return at ? copy_segment(skb, at, out) : 1;
	}
	at = udp_header_at(skb);
	return at ? count(skb, at, out) : 1;
}

SEC("cgroup_skb/egress")
int packet_sent(struct __sk_buff *skb)
{
	return classify_packet(skb, 1);
}

SEC("cgroup_skb/ingress")
int packet_received(struct __sk_buff *skb)
{
	return classify_packet(skb, 0);
}

/* Every UDP socket that a process holds open, with its owner, whatever its network namespace. */
SEC("iter/task_file")
int seed_udp_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct udp_socket fresh = {};
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_UDP || sk->sk_type != SOCK_DGRAM || !in_scope(sk))
		return 0;
	if (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6)
		return 0;
	fresh.older = 1;
	fresh.netns = netns_of(sk);
	set_owner(fresh.comm, &fresh.cgroup, &fresh.start_id, &fresh.pid, task);
	bpf_sk_storage_get(&udp_sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	return 0;
}
