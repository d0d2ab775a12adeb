/* SPDX-License-Identifier: Dual MIT/GPL */
/* Packets and their sockets in programs on cgroups. Such a packet begins with the IP header. */
#ifndef SOCKTALLY_PACKET_H
#define SOCKTALLY_PACKET_H

/* Kernel ABI from linux/bpf.h: only what is read here. */
struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host byte order */
	__be16 dst_port;
	__u16 pad;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};

struct __sk_buff {
	__u32 len;
	__u32 unread1[18];
	__u32 data;
	__u32 data_end;
	__u32 unread2[19];
	__u32 wire_len;
	__u32 gso_segs;
	struct bpf_sock *sk;
	__u32 gso_size;
};

_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "as the kernel has it");
_Static_assert(__builtin_offsetof(struct __sk_buff, gso_segs) == 164, "as the kernel has it");
_Static_assert(__builtin_offsetof(struct __sk_buff, sk) == 168, "as the kernel has it");
_Static_assert(__builtin_offsetof(struct bpf_sock, state) == 72, "as the kernel has it");

enum {
	SOCK_DGRAM = 2,
};

enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_UDP = 17,
	IPPROTO_ROUTING = 43,
	IPPROTO_DSTOPTS = 60,
};

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define UDP_HEADER 8
#define TCP_HEADER 20
#define IPV6_EXTENSIONS 4 /* at most so many extension headers are parsed */

struct ports {
	__be16 source;
	__be16 destination;
};

struct tcp_header {
	struct ports ports;
	__be32 sequence;
	__be32 acknowledged;
	__u8 words; /* upper 4 bits: the length of the header in 32-bit words */
	__u8 flags;
	__u8 unread[6];
};

#define TCP_SYN 2

struct extension {
	__u8 next;
	__u8 length; /* in units of 8 bytes, without the first 8 bytes */
};

/* The addresses and ports of a socket. */
struct tuple {
	__u8 local[16];
	__u8 remote[16];
	__u32 netns; /* 0, unless the addresses are local to a network namespace */
	__u16 local_port;
	__u16 remote_port;
};

static __always_inline __u32 behind_extensions(struct __sk_buff *skb, __u8 next)
{
	struct extension header;
	__u32 at = IPV6_HEADER;

	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return 0;
		if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)))
			return 0;
		next = header.next;
		at += 8 + 8 * header.length;
		if (next == IPPROTO_UDP)
			return at;
	}
	return 0;
}

static __always_inline __u8 protocol_of(struct __sk_buff *skb)
{
	const __u8 *data = (void *)(unsigned long)skb->data;
	const void *end = (void *)(unsigned long)skb->data_end;

	if ((void *)(data + IPV4_HEADER) > end)
		return 0;
	return data[0] >> 4 == 4 ? data[9] : data[6];
}

/* The offset of the UDP header; 0 if there is none. */
static __always_inline __u32 udp_header_at(struct __sk_buff *skb)
{
	const __u8 *data = (void *)(unsigned long)skb->data;
	const void *end = (void *)(unsigned long)skb->data_end;

	if ((void *)(data + IPV4_HEADER) > end)
		return 0;
	if (data[0] >> 4 == 4)
		return data[9] == IPPROTO_UDP ? (data[0] & 15) * 4 : 0;
	return data[6] == IPPROTO_UDP ? IPV6_HEADER : behind_extensions(skb, data[6]);
}

static __always_inline void copy_words(__u8 *to, const __u8 *from)
{
	const __u32 *in = (const __u32 *)from;
	__u32 *out = (__u32 *)to;

	out[0] = in[0];
	out[1] = in[1];
	out[2] = in[2];
	out[3] = in[3];
}

static __always_inline bool packet_tuple(struct __sk_buff *skb, __u32 at, bool out, struct tuple *t)
{
	const __u8 *data = (void *)(unsigned long)skb->data;
	const void *end = (void *)(unsigned long)skb->data_end;
	__u8 *source = out ? t->local : t->remote, *destination = out ? t->remote : t->local;
	struct ports ports;

	if (bpf_skb_load_bytes(skb, at, &ports, sizeof(ports)))
		return 0;
	t->local_port = bpf_ntohs(out ? ports.source : ports.destination);
	t->remote_port = bpf_ntohs(out ? ports.destination : ports.source);
	if ((void *)(data + IPV4_HEADER) > end)
		return 0;
	if (data[0] >> 4 == 4) {
		map_ipv4(source, *(const __u32 *)(data + 12));
		map_ipv4(destination, *(const __u32 *)(data + 16));
		return 1;
	}
	if ((void *)(data + IPV6_HEADER) > end)
		return 0;
	copy_words(source, data + 8);
	copy_words(destination, data + 24);
	return 1;
}

/* A connected socket knows its addresses. NAT on this host may have changed those in outgoing packets, so the
 * addresses of the socket are better. */
static __always_inline bool socket_tuple(const struct bpf_sock *sk, struct tuple *t)
{
	__u32 *local = (__u32 *)t->local, *remote = (__u32 *)t->remote;

	if (!sk->dst_port)
		return 0;
	t->local_port = sk->src_port;
	t->remote_port = bpf_ntohs(sk->dst_port);
	if (sk->family == AF_INET) {
		map_ipv4(t->local, sk->src_ip4);
		map_ipv4(t->remote, sk->dst_ip4);
		barrier(); /* the compiler would merge the loads in a way that the verifier refuses */
		return 1;
	}
	local[0] = sk->src_ip6[0];
	local[1] = sk->src_ip6[1];
	local[2] = sk->src_ip6[2];
	local[3] = sk->src_ip6[3];
	remote[0] = sk->dst_ip6[0];
	remote[1] = sk->dst_ip6[1];
	remote[2] = sk->dst_ip6[2];
	remote[3] = sk->dst_ip6[3];
	return 1;
}

/* One buffer may hold many datagrams of one size (UDP_SEGMENT, UDP_GRO). The last one may be shorter. */
static __always_inline __u32 datagrams(const struct __sk_buff *skb, __u32 payload)
{
	if (skb->gso_segs)
		return skb->gso_segs;
	return skb->gso_size ? (payload + skb->gso_size - 1) / skb->gso_size : 1;
}

#endif
