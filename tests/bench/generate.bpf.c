/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Turns the one frame that BPF_PROG_TEST_RUN recycles into the next frame of a
 * stream, and sends it into an interface. One call runs it on one CPU at a
 * time, so the counters are plain words.
 *
 * The kernel restores a recycled frame's bounds, not its bytes: whatever
 * differs between frames is written each time.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NS_PER_S 1000000000ULL
#define SIZES 12
#define STAMP_EVERY 256

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__u64 seq;
	__u32 magic;
	__u32 sent_ns;
} __attribute__((packed));

/* Set before the program is loaded: the verifier takes them as constants. */
const volatile __u32 interface;
const volatile __u32 flows;	   /* 0: 2^32 */
const volatile __u64 rate;	   /* frames/s; 0: no pacing */
const volatile __u32 largest;	   /* size of the frame that is handed in */
const volatile __u32 sizes[SIZES]; /* all 0: only the largest */
const volatile __u32 base_sum;	   /* of the IP header: no length, no source */

/* Read by user space while it runs. */
__u64 sent;
__u64 first_ns;
__u64 stamp_ns;	  /* when ... */
__u64 stamp_sent; /* ... so many had been sent */

static __u32 next_flow;
static __u32 next_size;

/*
 * Each a part of a gap later than evenly, one of so many: where all came in
 * step with a timer of the receiver, how late they are would be chance.
 */
#define PARTS 16

static __always_inline int is_due(__u64 number)
{
	__u64 elapsed, parts;

	if (rate == 0)
		return 1;
	elapsed = bpf_ktime_get_ns() - first_ns;
	parts = elapsed / NS_PER_S * rate * PARTS +
		elapsed % NS_PER_S * (rate * PARTS) / NS_PER_S;
	return parts >= number * PARTS + number % PARTS;
}

static __always_inline void stamp(__u64 number)
{
	stamp_ns = bpf_ktime_get_ns();
	stamp_sent = number;
	if (first_ns == 0)
		first_ns = stamp_ns;
}

/* Cuts the frame to the next of the sizes. Returns the size, 0 on failure. */
static __always_inline __u32 resize(struct xdp_md *ctx)
{
	__u32 size = largest;

	if (sizes[0] == 0)
		return size;
	if (next_size < SIZES)
		size = sizes[next_size];
	next_size = next_size + 1 < SIZES ? next_size + 1 : 0;
	if (size < largest && bpf_xdp_adjust_tail(ctx, (int)(size - largest)))
		return 0;
	return size;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline void write_frame(struct frame *frame, __u32 size,
					__u64 number)
{
	__u32 flow = next_flow, source = 0x0a000001 + (flow >> 15);
	__u16 length = (__u16)(size - sizeof(frame->eth));

	next_flow = flows && flow + 1 == flows ? 0 : flow + 1;
	frame->ip.tot_len = bpf_htons(length);
	frame->ip.saddr = bpf_htonl(source);
	frame->ip.check = bpf_htons(
		fold(base_sum + length + (source >> 16) + (source & 0xffff)));
	frame->udp.source = bpf_htons((__u16)(0x8000 | (flow & 0x7fff)));
	frame->udp.len = bpf_htons((__u16)(length - sizeof(frame->ip)));
	frame->seq = bpf_cpu_to_be64(number);
	if (rate)
		frame->sent_ns = (__u32)bpf_ktime_get_ns();
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct frame *frame;
	__u64 number = sent;
	__u32 size;

	if (number % STAMP_EVERY == 0 && stamp_sent <= number)
		stamp(number);
	if (!is_due(number))
		return XDP_DROP;
	size = resize(ctx);
	frame = (void *)(long)ctx->data;
	if (size == 0 || (void *)(frame + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	write_frame(frame, size, number);
	sent = number + 1;
	return (int)bpf_redirect(interface, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
