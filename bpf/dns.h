/* SPDX-License-Identifier: Dual MIT/GPL */
/* Copies of DNS packets for user space, which reads what is in them. */
#ifndef SOCKTALLY_DNS_H
#define SOCKTALLY_DNS_H

#define DNS_PORTS 4
#define DNS_SHORT 128 /* most queries, and many answers, are no longer */
#define DNS_LONG 512
#define DNS_BULK 8192 /* of a segment of TCP, which may hold many messages */
#define DNS_BULKS 8   /* copies of that size, of one segment */
#define DNS_RING (2 << 20)
#define DNS_WAKEUP (DNS_RING / 4) /* user space looks from time to time, and at once for so much */

/* One packet, followed by what of it was copied. */
struct dns_packet {
	__u8 comm[16];
	__u64 time;
	struct tuple tuple;
	__u64 cgroup;
	__u64 start_id;
	__u32 pid;
	__u32 netns;
	__u32 sequence; /* TCP's, of the first byte */
	__u32 length;	/* of the payload */
	__u16 size;	/* of the copy */
	__u8 is_server; /* the socket is the server's */
	__u8 out;
	__u8 is_tcp;
	__u8 is_first; /* TCP's SYN: the payload begins after sequence */
	__u8 pad[2];
};

struct dns_short {
	struct dns_packet packet;
	__u8 copy[DNS_SHORT];
};

struct dns_long {
	struct dns_packet packet;
	__u8 copy[DNS_LONG];
};

struct dns_bulk {
	struct dns_packet packet;
	__u8 copy[DNS_BULK];
};

const struct dns_packet *unused_dns_packet __attribute__((unused));

/* Settings, written before load: ports in host byte order, 0 for none. */
const volatile __u16 dns_ports[DNS_PORTS] = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DNS_RING);
} dns_packets SEC(".maps");

static __always_inline bool is_dns_port(__u16 port)
{
	for (int i = 0; i < DNS_PORTS; i++)
		if (dns_ports[i] && dns_ports[i] == port)
			return 1;
	return 0;
}

static __always_inline bool is_dns(const struct tuple *t)
{
	return is_dns_port(t->remote_port) || is_dns_port(t->local_port);
}

/* Where the TCP header of a packet from or to a DNS server begins; 0 for all others, which leave by
 * their ports. Behind IPv6 extension headers it is not looked for. */
static __always_inline __u32 dns_segment_at(struct __sk_buff *skb)
{
	const __u8 *data = (void *)(unsigned long)skb->data;
	const void *end = (void *)(unsigned long)skb->data_end;
	const struct ports *ports;
	__u32 at;

	if ((void *)(data + IPV4_HEADER) > end)
		return 0;
	at = data[0] >> 4 == 4 ? (data[0] & 15) * 4 : IPV6_HEADER;
	ports = (void *)(data + at);
	if ((void *)(ports + 1) > end)
		return 0;
	if (!is_dns_port(bpf_ntohs(ports->source)) && !is_dns_port(bpf_ntohs(ports->destination)))
		return 0;
	return at;
}

static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&dns_packets, BPF_RB_AVAIL_DATA) >= DNS_WAKEUP ? BPF_RB_FORCE_WAKEUP :
										 BPF_RB_NO_WAKEUP;
}

#define COPY_DNS(type, limit)                                                                      \
	do {                                                                                       \
		struct type *to = bpf_ringbuf_reserve(&dns_packets, sizeof(*to), 0);               \
		if (!to) {                                                                         \
			count_loss(LOSS_DNS);                                                            \
			return;                                                                    \
		}                                                                                  \
		__u32 n = p->length < limit ? p->length : limit;                                   \
		to->packet = *p;                                                                   \
		to->packet.time = bpf_ktime_get_ns();                                              \
		to->packet.size = n;                                                               \
		n -= !!n; /* a byte at least: the header has one */                                \
		barrier_var(n);                                                                    \
		n &= limit - 1; /* says nothing new but to the verifier; limits are powers of 2 */ \
		if (bpf_skb_load_bytes(skb, at, to->copy, n + 1)) {                                \
			count_loss(LOSS_DNS);                                                            \
			bpf_ringbuf_discard(to, BPF_RB_NO_WAKEUP);                                 \
			return;                                                                    \
		}                                                                                  \
		bpf_ringbuf_submit(to, wakeup());                                                  \
	} while (0)

static __always_inline void copy_dns_bulk(struct __sk_buff *skb, __u32 at, const struct dns_packet *p)
{
	COPY_DNS(dns_bulk, DNS_BULK);
}

static __always_inline void copy_dns(struct __sk_buff *skb, __u32 at, const struct dns_packet *p)
{
	if (p->length <= DNS_SHORT)
		COPY_DNS(dns_short, DNS_SHORT);
	else if (p->length <= DNS_LONG || !p->is_tcp)
		COPY_DNS(dns_long, DNS_LONG);
	else
		copy_dns_bulk(skb, at, p);
}

#endif
