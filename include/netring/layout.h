/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared memory of netring, byte by byte. This is an ABI: others may
 * implement it, so every structure states who writes it and asserts its size
 * and the offset of each field.
 *
 *   arena        lane writes, consumers map read-only
 *     header     struct nr_arena, then the stream slots
 *     blocks     each: struct nr_block, records from the front, packet bytes
 *                from the back
 *   ring slice   lane writes, the one consumer maps read-only
 *     struct nr_ring, then descriptor slots
 *   return page  consumer writes, the engine only reads
 *
 * Everything is in the byte order of the host. A reader steps by the strides
 * and offsets it finds in the headers, never by sizeof, so that structures can
 * grow with the minor version. The version word of a header is stored last
 * (release) and read first (acquire): a half-made region reads as "not yet".
 */
#ifndef NETRING_LAYOUT_H
#define NETRING_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include <netring/version.h>

#ifdef __cplusplus
#define NR_ASSERT(cond, text) static_assert(cond, text)
#else
#define NR_ASSERT(cond, text) _Static_assert(cond, text)
#endif
#define NR_AT(type, field, off)                                                \
	NR_ASSERT(offsetof(type, field) == (off), #type "." #field)

#define NR_CACHE_LINE 64
#define NR_PAGE 4096

/* "never": no record has this sequence number. */
#define NR_SEQ_NONE UINT64_MAX

/* ------------------------------------------------------------------ arena */

#define NR_ARENA_MAGIC 0x4e524152u /* "NRAR" */

/* An arena is at most this long, so an offset into it fits 32 bits. */
#define NR_ARENA_MAX (UINT64_C(4) << 30)

/*
 * First bytes of an arena. Writer: the engine, once, before anybody maps it;
 * the counters in the second line: the lane.
 */
struct nr_arena {
	uint32_t version; /* NR_ABI_VERSION, stored last */
	uint32_t magic;
	uint64_t size;	     /* bytes of the whole arena */
	uint32_t id;	     /* unique in the life of a broker */
	uint32_t block_size; /* bytes, header included */
	uint32_t block_count;
	uint32_t block_offset;	/* of block 0 */
	uint32_t record_offset; /* of record 0, in a block */
	uint32_t record_stride;
	uint32_t stream_offset; /* of stream slot 0, in the arena */
	uint32_t stream_stride;
	uint32_t stream_count;
	uint32_t flags; /* NR_ARENA_* */
	uint32_t reserved[2];

	/* Of channel and lane since the arena was made; 0 unless COUNTS. */
	uint64_t seen;	   /* packets the source gave the channel */
	uint64_t filtered; /* of these, kept back by its filter */
	uint64_t passed;   /* of these, not; kept with or without COUNTS */
	uint64_t reserved_counts[5];
};

/* seen and filtered are kept: the channel's policy shows them. */
#define NR_ARENA_COUNTS 1u

/* What a stream has had so far. Writer: lane, once a burst. */
struct nr_stream {
	uint64_t published; /* sequence number that the next record will have */
	uint64_t bytes;	    /* captured bytes of all records before it */
	uint64_t reserved[6];
};

/*
 * Header of a block. Writer: lane. seq and link_type are written before the
 * block is handed out and do not change until it is reused.
 */
struct nr_block {
	uint64_t seq;	    /* sequence number of record 0 */
	uint32_t state;	    /* NR_BLOCK_CLOSED | number of published records */
	uint16_t link_type; /* LINKTYPE_ value (DLT) of all its packets */
	uint16_t flags;	    /* 0 */
	/*
	 * Counts up when flows move between the members of a group, and by
	 * NR_EPOCH_ENGINE for each engine of the broker that has died. May
	 * still change while the block has no record.
	 */
	uint32_t epoch;
	uint32_t reserved_epoch;
	uint64_t reserved[5];
};

#define NR_EPOCH_ENGINE (UINT32_C(1) << 20)

#define NR_BLOCK_CLOSED UINT32_C(0x80000000)
#define NR_BLOCK_COUNT UINT32_C(0x7fffffff)

/*
 * One packet. Never changes between its publication and the reuse of its
 * block, which waits for every lease. Writer: lane.
 */
struct nr_record {
	uint64_t ts_ns;	    /* ns since 1970-01-01 UTC */
	uint32_t offset;    /* of its first byte, in the byte region */
	uint32_t caplen;    /* bytes that are there */
	uint32_t wirelen;   /* bytes it had on the wire, a VLAN tag counted */
	uint32_t flow_hash; /* symmetric: both directions of a flow the same */
	uint16_t vlan_tci;  /* outermost tag, if NR_VLAN */
	uint16_t vlan_tpid; /* its ethertype: 0x8100, 0x88a8 */
	uint16_t flags;	    /* NR_*, below */
	uint16_t interface; /* index of the interface within the source */
};

/* flags: direction, as the kernel's sll_pkttype or the file saw it */
#define NR_DIRECTION 0x0007u
#define NR_TO_HOST 0u
#define NR_BROADCAST 1u
#define NR_MULTICAST 2u
#define NR_OTHER_HOST 3u
#define NR_OUTGOING 4u
#define NR_DIRECTION_UNKNOWN 7u
/* caplen < wirelen: cut by a snap length */
#define NR_TRUNCATED 0x0008u
/* transport checksum: neither flag means nobody looked */
#define NR_CSUM_VALID 0x0010u
#define NR_CSUM_NOT_READY 0x0020u /* left to the NIC: wrong in the bytes */
/* which clock stamped it */
#define NR_CLOCK 0x00c0u
#define NR_CLOCK_SOFTWARE 0x0000u /* the kernel's, on reception */
#define NR_CLOCK_HARDWARE 0x0040u /* the NIC's */
#define NR_CLOCK_FILE 0x0080u	  /* what the capture file says */
#define NR_CLOCK_BROKER 0x00c0u	  /* the broker's, when it got to the packet */
/* vlan_tci and vlan_tpid are valid (a priority tag has TCI 0) */
#define NR_VLAN 0x0100u
/* ... and the tag is also in the packet's bytes */
#define NR_VLAN_IN_BAND 0x0200u
/* a GRO or GSO super-frame, not what was on the wire */
#define NR_GSO 0x0400u
/* the kernel dropped packets of this source since its last report */
#define NR_LOSING 0x0800u

/* ------------------------------------------------------------- ring slice */

#define NR_RING_MAGIC 0x4e52524eu /* "NRRN" */

/* Leases, descriptor slots and release slots of a capture and lane, at most. */
#define NR_LEASES_MAX 256

/* Bytes of a slice: header and NR_LEASES_MAX descriptors, whole pages. */
#define NR_RING_SIZE 12288

/* One block lent. Writer: lane, before it counts head up. */
struct nr_descriptor {
	uint64_t lease;	   /* give this back to release the block */
	uint64_t seq;	   /* sequence number of the first readable record */
	uint32_t arena_id; /* where the block is */
	uint32_t block;
	uint32_t first; /* index of the first readable record */
	uint32_t flags; /* 0 */
};

/*
 * Header of a slice: what the broker tells one capture on one lane.
 * Writer: lane (the first line: the engine, once).
 */
struct nr_ring {
	uint32_t version; /* NR_ABI_VERSION, stored last */
	uint32_t magic;
	uint32_t capture_id;
	uint32_t lane;
	uint32_t slots;	      /* a power of two, >= the leases */
	uint32_t slot_offset; /* of slot 0, in the slice */
	uint32_t slot_stride;
	uint32_t leases; /* blocks it may hold at once */
	uint32_t stream; /* its slot in the arena's stream table */
	uint32_t flags;	 /* NR_RING_* */
	uint32_t reserved[6];

	/* Where the counting of this capture starts. Written at attach. */
	uint64_t base_seq;
	uint64_t base_seen;
	uint64_t base_filtered;
	uint64_t base_passed;
	/* And where it ends. Written before the end word. */
	uint64_t end_seen;
	uint64_t end_filtered;
	uint64_t end_passed;
	uint64_t reserved_base;

	uint64_t head; /* descriptors ever queued */
	uint64_t end;  /* 0, or NR_END_WORD(): there will be no more */
	uint64_t reserved_head[6];

	/*
	 * Losses, under a sequence lock: odd while being changed. Changed only
	 * when the capture is refused or let in again, so the cost of a capture
	 * that keeps up, or of one that does not, is nothing a burst:
	 *   lost so far = lost + (refused_at == NR_SEQ_NONE ? 0
	 *                         : published of the stream - refused_at)
	 */
	uint64_t lock;
	uint64_t lost;	     /* not admitted, up to the last change */
	uint64_t refused_at; /* first sequence number it may not read */
	uint64_t refusals;   /* how often it was refused a block */

	/*
	 * Packets that passed by while the source's memory was made anew: lost,
	 * too, and not under the lock. Written just before an end word, whose
	 * sequence number lies so far behind what was published.
	 */
	uint64_t retired;
	uint64_t reserved_loss[3];
};

/* It is a member of a group: other members get what it does not. */
#define NR_RING_GROUP 1u

/*
 * End word: the stream's final sequence number + 1 (that of the record which
 * would have come next), and why.
 */
#define NR_END_WORD(seq, why) (((uint64_t)(seq) << 8) | (why))
#define NR_END_SEQ(word) ((word) >> 8)
#define NR_END_WHY(word) ((unsigned)(word)&0xff)
#define NR_END_SOURCE 1u   /* the file is over: everything was given */
#define NR_END_SHUTDOWN 2u /* the broker ends */
#define NR_END_EVICTED 3u  /* the capture broke the protocol */
#define NR_END_RETIRED 4u  /* the channel has changed: attach again */
#define NR_END_CHANNEL 5u  /* the channel is no more */
#define NR_END_DENIED 6u   /* its user may not attach any more */
#define NR_END_MOVED 7u	   /* it goes on where NR_MSG_MOVE said */

/* ------------------------------------------------------------ return page */

/*
 * The only memory that a consumer writes: one page for each capture and lane.
 * The engine loads each word once and believes none.
 */
struct nr_return {
	uint64_t armed; /* counted up before each sleep */
	uint64_t reserved_armed[7];
	uint64_t head; /* leases ever given back */
	uint64_t reserved_head[7];
	uint64_t slots[NR_LEASES_MAX]; /* leases given back, head % 256 next */
	uint64_t reserved[240];
};

/* ------------------------------------------------------------- assertions */

NR_ASSERT(sizeof(struct nr_arena) == 128, "struct nr_arena");
NR_AT(struct nr_arena, version, 0);
NR_AT(struct nr_arena, magic, 4);
NR_AT(struct nr_arena, size, 8);
NR_AT(struct nr_arena, id, 16);
NR_AT(struct nr_arena, block_size, 20);
NR_AT(struct nr_arena, block_count, 24);
NR_AT(struct nr_arena, block_offset, 28);
NR_AT(struct nr_arena, record_offset, 32);
NR_AT(struct nr_arena, record_stride, 36);
NR_AT(struct nr_arena, stream_offset, 40);
NR_AT(struct nr_arena, stream_stride, 44);
NR_AT(struct nr_arena, stream_count, 48);
NR_AT(struct nr_arena, flags, 52);
NR_AT(struct nr_arena, seen, 64);
NR_AT(struct nr_arena, filtered, 72);
NR_AT(struct nr_arena, passed, 80);

NR_ASSERT(sizeof(struct nr_stream) == 64, "struct nr_stream");
NR_AT(struct nr_stream, published, 0);
NR_AT(struct nr_stream, bytes, 8);

NR_ASSERT(sizeof(struct nr_block) == 64, "struct nr_block");
NR_AT(struct nr_block, seq, 0);
NR_AT(struct nr_block, state, 8);
NR_AT(struct nr_block, link_type, 12);
NR_AT(struct nr_block, flags, 14);
NR_AT(struct nr_block, epoch, 16);

NR_ASSERT(sizeof(struct nr_record) == 32, "struct nr_record");
NR_AT(struct nr_record, ts_ns, 0);
NR_AT(struct nr_record, offset, 8);
NR_AT(struct nr_record, caplen, 12);
NR_AT(struct nr_record, wirelen, 16);
NR_AT(struct nr_record, flow_hash, 20);
NR_AT(struct nr_record, vlan_tci, 24);
NR_AT(struct nr_record, vlan_tpid, 26);
NR_AT(struct nr_record, flags, 28);
NR_AT(struct nr_record, interface, 30);

NR_ASSERT(sizeof(struct nr_descriptor) == 32, "struct nr_descriptor");
NR_AT(struct nr_descriptor, lease, 0);
NR_AT(struct nr_descriptor, seq, 8);
NR_AT(struct nr_descriptor, arena_id, 16);
NR_AT(struct nr_descriptor, block, 20);
NR_AT(struct nr_descriptor, first, 24);
NR_AT(struct nr_descriptor, flags, 28);

NR_ASSERT(sizeof(struct nr_ring) == 256, "struct nr_ring");
NR_AT(struct nr_ring, version, 0);
NR_AT(struct nr_ring, magic, 4);
NR_AT(struct nr_ring, capture_id, 8);
NR_AT(struct nr_ring, lane, 12);
NR_AT(struct nr_ring, slots, 16);
NR_AT(struct nr_ring, slot_offset, 20);
NR_AT(struct nr_ring, slot_stride, 24);
NR_AT(struct nr_ring, leases, 28);
NR_AT(struct nr_ring, stream, 32);
NR_AT(struct nr_ring, flags, 36);
NR_AT(struct nr_ring, base_seq, 64);
NR_AT(struct nr_ring, base_seen, 72);
NR_AT(struct nr_ring, base_filtered, 80);
NR_AT(struct nr_ring, base_passed, 88);
NR_AT(struct nr_ring, end_seen, 96);
NR_AT(struct nr_ring, end_filtered, 104);
NR_AT(struct nr_ring, end_passed, 112);
NR_AT(struct nr_ring, head, 128);
NR_AT(struct nr_ring, end, 136);
NR_AT(struct nr_ring, lock, 192);
NR_AT(struct nr_ring, lost, 200);
NR_AT(struct nr_ring, refused_at, 208);
NR_AT(struct nr_ring, refusals, 216);
NR_ASSERT(sizeof(struct nr_ring) +
			  NR_LEASES_MAX * sizeof(struct nr_descriptor) <=
		  NR_RING_SIZE,
	  "a slice holds header and slots");

NR_ASSERT(sizeof(struct nr_return) == NR_PAGE, "struct nr_return");
NR_AT(struct nr_return, armed, 0);
NR_AT(struct nr_return, head, 64);
NR_AT(struct nr_return, slots, 128);

#endif
