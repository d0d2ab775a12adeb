/* SPDX-License-Identifier: Dual MIT/GPL */
/* DNS packets are copied to user space, which parses them. */
#ifndef SOCKTALLY_DNS_H
#define SOCKTALLY_DNS_H

#define DNS_PORTS 4
#define DNS_SHORT 128 /* enough for most queries and many answers */
#define DNS_LONG 512
#define DNS_BULK 8192 /* for a TCP segment, which may hold many messages */
#define DNS_BULKS 8   /* at most so many copies of that size from one segment */
#define DNS_RING (2 << 20)
#define DNS_WAKEUP (DNS_RING / 4) /* so many unread bytes wake user space at once */

/* One packet. The copied part of its payload follows. */
struct dns_packet {
	__u8 comm[16];
	__u64 time;
	struct tuple tuple;
	__u64 cgroup;
	__u64 start_id;
	__u32 pid;
	__u32 netns;
	__u32 sequence; /* TCP: the sequence number of the first byte */
	__u32 length;	/* of the payload */
	__u16 size;	/* of the copy */
	__u8 is_server; /* this is the server's socket */
	__u8 out;
	__u8 is_tcp;
	__u8 is_first; /* TCP: the segment has SYN, so the payload begins at sequence + 1 */
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

/* Set before load: ports in host byte order, 0 for an unused entry. */
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

/* The offset of the TCP header in a packet from or to a DNS port; 0 for all other packets. This does not
 * parse IPv6 extension headers. */
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
		n -= !!n; /* always copy one byte or more: there is at least a header */           \
		barrier_var(n);                                                                    \
		n &= limit - 1; /* proves the bound to the verifier; limits are powers of 2 */     \
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
