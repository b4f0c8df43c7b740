/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Gives packets of queues that somebody captures to their sockets, with a few
 * words about each in front of it; all others pass, untouched.
 *
 * What a driver knows of a packet beside its bytes is told by kernel functions
 * that only a program bound to one device may call, and that older kernels
 * lack: so there are two programs, of which the warden loads one.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flow_core.h"
#include "redirect.h"

#define EOPNOTSUPP 95
#define VLAN_TAG 4
#define MACS 12

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct redirect_passed);
} passed SEC(".maps");

const volatile bool use_hardware_clock;
/* This program's own: bytes that another has left in a frame do not have it. */
const volatile __u32 magic;
const volatile __u32 room; /* of a frame, for a packet */
/* The interface's own, to tell packets to this host; see get_mac(). */
__u64 own_mac;
/* Set when a driver that could be asked does not tell of tags. */
__u32 tags_are_hidden;
/* The size of a packet that no frame holds. */
__u32 too_large;
/* The driver leaves room in front of a frame. */
__u32 has_front;
/* ... but once did not. */
__u32 undescribed;

extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx,
					 __u64 *timestamp) __ksym __weak;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx,
					__be16 *vlan_proto,
					__u16 *vlan_tci) __ksym __weak;

FLOW_INLINE struct cursor packet_of(const struct xdp_md *ctx)
{
	struct cursor c = { (void *)(long)ctx->data,
			    (void *)(long)ctx->data_end };

	return c;
}

/* Puts a tag back behind the MAC addresses. */
FLOW_INLINE void restore_tag(struct xdp_md *ctx, __be16 tpid, __u16 tci)
{
	struct cursor c = packet_of(ctx);
	__u32 *words;

	if (!has(&c, MACS + 2) || bpf_xdp_adjust_head(ctx, -VLAN_TAG))
		return;
	words = (void *)(long)ctx->data;
	if ((void *)(words + 4) > (void *)(long)ctx->data_end)
		return;
	words[0] = words[1];
	words[1] = words[2];
	words[2] = words[3];
	words[3] = (__u32)tpid | (__u32)bpf_htons(tci) << 16;
}

FLOW_INLINE void ask_driver(struct xdp_md *ctx, struct redirect_meta *meta)
{
	__u64 stamp = 0;
	__be16 tpid = 0;
	__u16 tci = 0;
	int err;

	if (use_hardware_clock && bpf_xdp_metadata_rx_timestamp &&
	    !bpf_xdp_metadata_rx_timestamp(ctx, &stamp) && stamp) {
		meta->ts_ns = stamp;
		meta->flags |= REDIRECT_CLOCK_HARDWARE;
	}
	err = bpf_xdp_metadata_rx_vlan_tag ?
		      bpf_xdp_metadata_rx_vlan_tag(ctx, &tpid, &tci) :
		      -EOPNOTSUPP;
	if (err == 0)
		restore_tag(ctx, tpid, tci);
	else if (err == -EOPNOTSUPP && !tags_are_hidden)
		tags_are_hidden = 1;
}

FLOW_INLINE __u16 direction(const struct cursor *c)
{
	__u64 to;

	if (!has(c, 6))
		return REDIRECT_DIRECTION_UNKNOWN;
	to = (__u64)get32(c, 0) << 16 | get16(c, 4);
	if (to == 0xffffffffffffULL)
		return REDIRECT_BROADCAST;
	if (to >> 40 & 1)
		return REDIRECT_MULTICAST;
	return to == own_mac ? REDIRECT_TO_HOST : REDIRECT_OTHER_HOST;
}

FLOW_INLINE void read_tag(const struct cursor *c, struct redirect_meta *meta)
{
	__u16 type;

	if (!has(c, MACS + VLAN_TAG))
		return;
	type = get16(c, MACS);
	if (type != 0x8100 && type != 0x88a8)
		return;
	meta->vlan_tpid = type;
	meta->vlan_tci = get16(c, MACS + 2);
	meta->flags |= REDIRECT_VLAN | REDIRECT_VLAN_IN_BAND;
}

/* Field by field: clang 14 loses words of the structure when it copies it. */
FLOW_INLINE void write_meta(struct redirect_meta *to,
			    const struct redirect_meta *meta)
{
	to->ts_ns = meta->ts_ns;
	to->flow_hash = meta->flow_hash;
	to->vlan_tci = meta->vlan_tci;
	to->vlan_tpid = meta->vlan_tpid;
	to->flags = meta->flags;
	to->reserved = 0;
	to->magic = meta->magic;
}

/* Nobody takes it: counted, so that a lane can tell what it has missed. */
FLOW_INLINE int pass(__u32 queue)
{
	struct redirect_passed *count = bpf_map_lookup_elem(&passed, &queue);

	if (count)
		__sync_fetch_and_add(&count->packets, 1);
	return XDP_PASS;
}

/*
 * False: the packet must not go out, for the lane would take what an earlier
 * one has left in the frame for its words. Where a driver never leaves room in
 * front there are no such words, and the lane looks at the bytes itself.
 */
FLOW_INLINE bool describe(struct xdp_md *ctx, const struct redirect_meta *meta)
{
	struct redirect_meta *front;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return !has_front;
	front = (void *)(long)ctx->data_meta;
	if ((void *)(front + 1) > (void *)(long)ctx->data)
		return false;
	write_meta(front, meta);
	if (!has_front)
		has_front = 1;
	return true;
}

FLOW_INLINE int redirect_frame(struct xdp_md *ctx, bool is_bound)
{
	struct redirect_meta meta = { .magic = magic };
	__u32 queue = ctx->rx_queue_index;
	struct cursor c;
	long action;

	if (!bpf_map_lookup_elem(&sockets, &queue))
		return pass(queue);
	meta.ts_ns = bpf_ktime_get_tai_ns();
	if (is_bound)
		ask_driver(ctx, &meta);
	c = packet_of(ctx);
	if ((unsigned long)(c.end - c.at) > room)
		too_large = (__u32)(c.end - c.at);
	meta.flags |= direction(&c);
	read_tag(&c, &meta);
	meta.flow_hash = hash_ethernet(c);
	if (!describe(ctx, &meta)) {
		undescribed = 1;
		return pass(queue);
	}
	action = bpf_redirect_map(&sockets, queue, XDP_PASS);
	return action == XDP_PASS ? pass(queue) : (int)action;
}

SEC("xdp")
int netring_redirect(struct xdp_md *ctx)
{
	return redirect_frame(ctx, false);
}

SEC("xdp")
int netring_bound(struct xdp_md *ctx)
{
	return redirect_frame(ctx, true);
}

char _license[] SEC("license") = "Dual BSD/GPL";
