//go:build ignore
// SPDX-License-Identifier: Dual MIT/GPL
/*
 * Counts UDP flows. The kernel keeps no counters for a UDP socket. So two programs at the root of the
 * cgroup v2 hierarchy see every packet that a socket of this host sends or receives. A packet that is neither
 * UDP nor DNS is recognised by its headers and costs little. A third program notes the owner of each
 * new UDP socket.
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

/* The storage of one socket. */
struct udp_socket {
	__u8 comm[16];
	__u64 cgroup;
	__u64 start_id;
	__u32 pid;
	__u32 netns;
	__u32 older; /* the socket is older than the programs */
	__u32 pad;
};

/* One entry of the connection tracking. As in conntrack, the original direction is that of the first datagram:
 * the end that sent it is the client. The tuple is as the socket has it: its own address is the local one.
 * If both ends are on this host there are two entries, and the tuple of each is the reply tuple of the other. */
struct conntrack_entry {
	__u32 pid;
	__u32 peer_pid; /* for a server: the pid of its client, if that is on this host */
	__u8 role;
	__u8 peer_is_local;
	__u8 pad[2];
};

/* Emit the types for the Go side, and for the inner map, in full. */
const struct flow_key *unused_flow_key __attribute__((unused));
const struct flow *unused_flow __attribute__((unused));
const struct tuple *unused_tuple __attribute__((unused));
const struct conntrack_entry *unused_conntrack_entry __attribute__((unused));
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
	__type(value, struct conntrack_entry);
} udp_conntrack SEC(".maps");

/* Written by user space: 1 if udp_socket_made could not be loaded or attached. Then a socket without storage
 * need not be older than the programs. */
volatile __u32 no_sock_create;

/* In these programs a struct bpf_sock is really a struct sock. The verifier allows no access to its other
 * fields by that pointer. So the pointer is copied, and the fields are read by bpf_probe_read_kernel. */
static __always_inline __u32 netns_by_address(const struct bpf_sock *sk)
{
	struct sock *from = NULL;

	if (!bpf_core_field_exists(from->__sk_common.skc_net.net))
		return 0;
	bpf_probe_read_kernel(&from, sizeof(from), &sk);
	return BPF_CORE_READ(from, __sk_common.skc_net.net, ns.inum);
}

static __always_inline bool out_of_scope(__u32 netns)
{
	return only_netns && netns != only_netns;
}

/* Runs in process context: the current task makes the socket. */
SEC("cgroup/sock_create")
int udp_socket_made(struct bpf_sock *sk)
{
	struct udp_socket fresh = {};

	if (sk->protocol != IPPROTO_UDP || sk->type != SOCK_DGRAM)
		return 1;
	fresh.netns = netns_by_address(sk);
	if (out_of_scope(fresh.netns))
		return 1;
	set_owner(fresh.comm, &fresh.cgroup, &fresh.start_id, &fresh.pid, bpf_get_current_task_btf());
	if (!bpf_sk_storage_get(&udp_sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE))
		count_loss(LOSS_STORAGE);
	return 1;
}

/* A socket without storage is counted without an owner. Either it is older than the programs and was open in no
 * process when they started, or the kernel had no memory for its storage. */
static __always_inline void find_owner(struct bpf_sock *sk, struct udp_socket *s)
{
	struct udp_socket *known = bpf_sk_storage_get(&udp_sockets, sk, NULL, 0);

	if (known) {
		*s = *known;
		return;
	}
	s->netns = netns_by_address(sk);
	s->older = !no_sock_create;
	if (!out_of_scope(s->netns) && !bpf_sk_storage_get(&udp_sockets, sk, s, BPF_SK_STORAGE_GET_F_CREATE))
		count_loss(LOSS_STORAGE);
}

static __always_inline __u8 initial_role(const struct udp_socket *s, const struct tuple *t, bool out)
{
	if (s->older && t->local_port != t->remote_port)
		return t->local_port < t->remote_port ? ROLE_SERVER : ROLE_CLIENT;
	return out ? ROLE_CLIENT : ROLE_SERVER;
}

/*
 * The end that sends first is the client. A datagram is sent before it is received. So if the client is on this
 * host, its entry exists when the server receives: the server finds it under the reply tuple, and both ends
 * become one flow.
 */
static __always_inline void find_conntrack(const struct udp_socket *s, const struct tuple *t, bool out,
				 struct conntrack_entry *c)
{
	struct conntrack_entry *known = bpf_map_lookup_elem(&udp_conntrack, t);
	struct tuple reply = {};

	if (known) {
		*c = *known;
		return;
	}
	copy_words(reply.local, t->remote);
	copy_words(reply.remote, t->local);
	reply.netns = t->netns;
	reply.local_port = t->remote_port;
	reply.remote_port = t->local_port;
	known = bpf_map_lookup_elem(&udp_conntrack, &reply);
	c->pid = s->pid;
	if (!known) {
		c->role = initial_role(s, t, out);
	} else if (known->role == ROLE_CLIENT) {
		c->role = ROLE_SERVER;
		c->peer_is_local = 1;
		c->peer_pid = known->pid;
	} else {
		/* The server is older than the programs, and they saw a datagram of the server first. */
		c->role = ROLE_CLIENT;
		known->peer_pid = s->pid;
		known->peer_is_local = 1;
	}
	bpf_map_update_elem(&udp_conntrack, t, c, BPF_ANY);
}

/* If a socket sends to itself, each datagram would be counted twice. */
static __always_inline bool is_received_from_self(const struct tuple *t, bool out)
{
	const __u32 *a = (const __u32 *)t->local, *b = (const __u32 *)t->remote;

	return !out && t->local_port == t->remote_port && a[0] == b[0] && a[1] == b[1] &&
	       a[2] == b[2] && a[3] == b[3];
}

/* Not inlined, so that packets other than UDP do not pay for clearing its variables on the stack. */
static __attribute__((noinline)) int count(struct __sk_buff *skb, __u32 udp_at, bool out)
{
	struct conntrack_entry c = {};
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
		return 1; /* a raw socket can send and receive UDP packets too; they are not counted */
	find_owner(sk, &s);
	if (out_of_scope(s.netns))
		return 1;
	if (!packet_tuple(skb, udp_at, out, &t))
		return 1;
	socket_tuple(sk, &t);
	if (addresses_are_netns_local(t.local, t.remote))
		t.netns = s.netns;
	if (is_received_from_self(&t, out))
		return 1;
	find_conntrack(&s, &t, out, &c);

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
	/* The length in the UDP header is not used: one buffer may hold many datagrams. */
	payload = skb->len - udp_at - UDP_HEADER;
	if (out) {
		delta.sent = payload;
		delta.segs_out = datagrams(skb, payload);
	} else {
		delta.received = payload;
		delta.segs_in = datagrams(skb, payload);
	}
	/* If both ends are on this host, the packet was copied at the client's socket already. */
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

/* Copies a segment of DNS over TCP. If both ends are on this host, both copy it; user space recognises the second
 * copy by its sequence number. A socket without storage has no owner, and the end with the DNS port is the
 * server. So it is for all sockets where the kernel allows only the programs in this file. */
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
	if (out_of_scope(packet.netns))
		return 1;
	if (addresses_are_netns_local(packet.tuple.local, packet.tuple.remote))
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

/* Visits every UDP socket that a process has open, in all network namespaces, and notes the owner. */
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
