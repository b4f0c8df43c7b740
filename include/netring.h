/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netring.h: read packets from a netring broker, in place, without privilege.
 *
 * A broker (netringd) captures once and gives the packets to many. This
 * library attaches to one of its channels and maps the memory where the
 * packets are; the kernel lets it map that memory read-only.
 *
 * The life of a capture, in five calls:
 *
 *	struct nr_capture *capture;
 *	struct nr_batch batch;
 *	int err = nr_capture_open("lan", NULL, &capture);
 *
 *	if (err)
 *		die("%s", nr_strerror(err));
 *	while ((err = nr_capture_recv(capture, &batch, -1)) > 0) {
 *		for (uint32_t i = 0; i < batch.count; i++) {
 *			const struct nr_record *r = nr_batch_record(&batch, i);
 *			const uint8_t *bytes = nr_batch_data(&batch, r);
 *
 *			use(bytes, r->caplen, r->ts_ns);
 *		}
 *		nr_batch_release(&batch);
 *	}
 *	nr_capture_close(capture);
 *
 * Words. A *channel* is what one attaches to, by name. A *capture* is the
 * handle on it. Its packets come in *blocks*, of which it may hold a number at
 * once (its *leases*); a *batch* is what was published in a block since the
 * last look. A *lane* is one queue of the channel's source: order is kept
 * within a lane, not between lanes. A *gap* is the number of packets that were
 * lost just before a batch because the capture held all it may hold.
 *
 * Errors. A call returns 0 or a count, or -errno; it sets no errno and prints
 * nothing. What each means here:
 *
 *	-ECONNREFUSED	there is no broker on that socket
 *	-ENOENT		the broker has no such channel (or no such lane)
 *	-EACCES		this user may not attach to the channel
 *	-ENOSPC		full: the channel's guarantees, or the user's quota
 *	-EAGAIN		too many attaches in a short time: try again later
 *	-EPROTONOSUPPORT broker and library differ in their major version
 *	-EPROTO		the broker said something that cannot be true, or it
 *			ended this capture because of what this process wrote
 *	-EPIPE		the broker is gone (died, or the connection was cut)
 *	-ESHUTDOWN	the broker has ended in good order
 *	-ENODATA	the source is over: every packet of the file was given
 *	-ESTALE		the channel was changed: attach again
 *	-EKEYREVOKED	this user may not attach to the channel any more
 *	-ETIMEDOUT	the broker did not answer in 10 s
 *	-EIDRM		the channel was removed
 *	-EINVAL		an argument is wrong
 *	-ENOMEM, ...	what the system call said
 *
 * The errors that end a capture (-EPIPE to -EIDRM, and -EPROTO) come after the
 * last packet has been read, each time again; batches that are held stay
 * readable. After -EPIPE, -ESHUTDOWN and -ESTALE nr_capture_reattach() may
 *help.
 *
 * Threads. The library starts none and has no globals. A capture belongs to
 * one thread at a time; different captures are independent. A batch may be
 * read by any thread, but is released in the capture's. nr_owned_free() and
 * nr_capture_break() may be called from any thread, the latter from a signal
 * handler too.
 *
 * System calls. After the attach the library needs ppoll, recv, munmap and
 * close; a callback loop that is broken from outside also read and write. It
 * handles no signal.
 */
#ifndef NETRING_H
#define NETRING_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <netring/layout.h>
#include <netring/proto.h>
#include <netring/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything hidden but this. */
#pragma GCC visibility push(default)

/** A capture: one attachment to one channel. Opaque. */
struct nr_capture;

/**
 * How to open a capture. Zero means the default everywhere, so start from
 * NR_OPEN_OPTIONS_INIT and set what you need.
 */
struct nr_open_options {
	size_t size; /**< sizeof(struct nr_open_options) */
	/** The broker's socket. NULL: $NETRING_SOCKET, else
	 *  /run/netring/broker.sock. */
	const char *socket;
	/** Blocks held at once on a lane, 1 to 256. Default 64. */
	unsigned leases;
	/** Of these, promised even when others hold the whole pool. Default 2;
	 *  -ENOSPC if the channel cannot promise so many. */
	unsigned guarantee;
	/** Of the blocks beyond the guarantee, held at most. Default: all. */
	unsigned budget;
	/** Read one lane only: its number + 1. 0: all lanes. */
	unsigned lane_plus_one;
	/** Wait so many ms for broker and channel to appear, -1: for ever. */
	int wait_ms;
	/** Where the broker's own words go when it refuses: what was wrong,
	 *  and what would be right. May be NULL. Borrowed for the call. */
	char *error_text;
	size_t error_text_size;
	/** Share the channel's packets with the other captures of this user
	 * that name the same group: each packet goes to exactly one of them,
	 * all packets of a flow to the same. NULL or "": get all packets. At
	 * most 31 bytes. */
	const char *group;
	/** Not 0: follow the channel when the broker's configuration changes it
	 *  (a filter, who may attach ...), without missing a packet. Else such
	 * a change ends the capture with -ESTALE. Whoever follows calls
	 *  nr_capture_arm() or nr_capture_recv() at least every half a second,
	 *  and needs recvmsg, mmap, fstat, fcntl and sendmsg then. */
	unsigned follow;
	/** Not 0: nr_capture_loop() calls nr_capture_reattach() when the broker
	 *  has gone, and waits so many ms for another one, -1: for ever. */
	int reattach_ms;
};

#define NR_OPEN_OPTIONS_INIT                                                   \
	{                                                                      \
		sizeof(struct nr_open_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  \
			0                                                      \
	}

/**
 * Attaches to a channel.
 *
 * @channel: its name
 * @options: NULL for the defaults; borrowed for the call
 * @capture: set on success; the caller owns it, nr_capture_close() frees it
 *
 * Packets count from this moment: what is published after it is delivered or
 * counted as lost. Blocks for as long as the broker needs (ms) plus wait_ms;
 * goes on after EINTR.
 *
 * Returns 0, or -ECONNREFUSED, -ENOENT, -EACCES, -ENOSPC, -EAGAIN,
 * -EPROTONOSUPPORT, -EPROTO, -EPIPE, -EINVAL, or what a system call said.
 */
int nr_capture_open(const char *channel, const struct nr_open_options *options,
		    struct nr_capture **capture);

/**
 * Attaches a capture that has ended again, with the options it was opened with:
 * after -EPIPE, -ESHUTDOWN (the next broker may be starting) or -ESTALE.
 *
 * @wait_ms: for the broker and the channel to be there, -1: for ever
 *
 * What went between the two is missing and nobody has counted it, and after a
 * crash of the broker what was given already may come again: the first batch of
 * each lane says so with NR_BATCH_REATTACHED. Sequence numbers and statistics
 * go on. Batches that are held stay readable until they are released.
 *
 * nr_capture_fd() stays the same number, and is another connection: an epoll
 * has lost it and needs it added again.
 *
 * Returns 0; -EINVAL if it has not ended so or is inherited; -EINTR after
 * nr_capture_break(); why it had ended if nobody was there in time; or as
 * nr_capture_open(). On error the capture is what it was: try again, or close.
 */
int nr_capture_reattach(struct nr_capture *capture, int wait_ms);

/**
 * Writes down what another process needs to take over a capture.
 *
 * @spec: at least NR_SPEC_MAX bytes; gets one line of text
 *
 * The file descriptors named in it lose their close-on-exec flag, so that a
 * program started with exec inherits them; put @spec into its environment as
 * NETRING_CAPTURE. The capture must not have been read from. After the exec
 * or fork only one of the two may use it; in the parent close it.
 *
 * Returns 0, or -EBUSY if packets have been read, -ENOSPC if @size is short.
 */
int nr_capture_export(struct nr_capture *capture, char *spec, size_t size);

#define NR_SPEC_MAX 1024
/**
 * The first capture that a parent process leaves; it is to call others
 * NETRING_CAPTURE_2, NETRING_CAPTURE_3 ... `netring run` does.
 */
#define NR_CAPTURE_ENV "NETRING_CAPTURE"

/**
 * Takes over a capture that a parent process has attached and exported.
 *
 * @spec: what nr_capture_export() wrote; NULL: $NETRING_CAPTURE
 * @capture: set on success; owns the file descriptors from then on
 *
 * Needs no broker and no socket: only mmap, fstat and fcntl.
 * Returns 0, -ENOENT if there is no such text, -EINVAL if it is not one,
 * -EBADF if a descriptor is not there, -EPROTO if what it maps to is not a
 * capture, or what a system call said.
 */
int nr_capture_open_inherited(const char *spec, struct nr_capture **capture);

/**
 * Ends the capture: gives back all it holds and frees it. Batches not yet
 * released become invalid. Takes NULL.
 */
void nr_capture_close(struct nr_capture *capture);

/** The name of the channel. Borrowed. */
const char *nr_capture_channel(const struct nr_capture *capture);

/** The number of lanes this capture reads, 1 to NR_LANES_MAX. */
unsigned nr_capture_lanes(const struct nr_capture *capture);

/**
 * A descriptor for poll, select, epoll or any event loop: readable (POLLIN)
 * when a packet, the end or the broker's death is there and the capture was
 * armed before. Level-triggered until the next nr_capture_arm(). The capture
 * owns it; do not read from it. Another thread may poll it.
 */
int nr_capture_fd(const struct nr_capture *capture);

/**
 * Asks to be woken: to be called before each wait on nr_capture_fd().
 *
 * Returns 0 if nothing is there: the descriptor becomes readable when that
 * changes. Returns 1 if something is there already: call nr_capture_next()
 * and do not wait. Needs one recv. Waiting and giving up loses nothing.
 */
int nr_capture_arm(struct nr_capture *capture);

/** Set in nr_batch.flags: the block is full, this is the rest of it. */
#define NR_BATCH_LAST_OF_BLOCK 1u
/** ... the first of its lane after nr_capture_reattach(). */
#define NR_BATCH_REATTACHED 2u

/**
 * Packets to read: the records of one block that were published since the
 * last look. Filled by nr_capture_next(); copy it freely, release one copy.
 */
struct nr_batch {
	uint32_t count;	    /**< records, at least 1 */
	uint16_t link_type; /**< LINKTYPE_ (DLT) of all, 1: Ethernet */
	uint16_t lane;	    /**< the lane they came through */
	/** Sequence number of the first record in its stream: consecutive but
	 *  for gaps. */
	uint64_t seq;
	/** Records lost to this capture between the batch before (of this
	 *  lane) and this one. 0: none, as far as is known (see
	 *  NR_BATCH_REATTACHED). */
	uint64_t gap;
	uint32_t flags; /**< NR_BATCH_* */
	/** Counts up when flows have moved between the members of a group,
	 * and, for everybody, by NR_EPOCH_ENGINE when the broker's engine has
	 * died and another goes on. A capture that attaches again then goes on
	 * where the engine before was, and may get again up to a block of what
	 * it was given last, once: between batches of which
	 * epoch / NR_EPOCH_ENGINE differs. */
	uint32_t epoch;

	/* For the functions below. */
	uint32_t stride;
	const uint8_t *records;
	const uint8_t *region;
	uint64_t region_size;
	struct nr_capture *capture;
	void *lane_state;
	uint32_t lease_slot;
	uint32_t reserved[2];
};

/**
 * The record @index of a batch, below its count. Lives until the release.
 * Its fields are those of struct nr_record (netring/layout.h).
 */
static inline const struct nr_record *
nr_batch_record(const struct nr_batch *batch, uint32_t index)
{
	return (const struct nr_record *)(const void *)(batch->records +
							(size_t)index *
								batch->stride);
}

/**
 * The packet's bytes, record->caplen of them, from its link-layer header on.
 * Always inside the mapping: NULL for a record that says otherwise (only a
 * broken broker makes one). Lives until the release.
 */
static inline const uint8_t *nr_batch_data(const struct nr_batch *batch,
					   const struct nr_record *record)
{
	if ((uint64_t)record->offset + record->caplen > batch->region_size)
		return NULL;
	return batch->region + record->offset;
}

/** Time stamps of the first and the last record, ns since the epoch. */
static inline uint64_t nr_batch_ts_first(const struct nr_batch *batch)
{
	return nr_batch_record(batch, 0)->ts_ns;
}

static inline uint64_t nr_batch_ts_last(const struct nr_batch *batch)
{
	return nr_batch_record(batch, batch->count - 1)->ts_ns;
}

/** Where the packet went: NR_TO_HOST ... NR_OUTGOING, NR_DIRECTION_UNKNOWN. */
static inline unsigned nr_record_direction(const struct nr_record *record)
{
	return record->flags & NR_DIRECTION;
}

/** Which clock stamped it: NR_CLOCK_SOFTWARE, _HARDWARE, _FILE or _BROKER. */
static inline unsigned nr_record_clock(const struct nr_record *record)
{
	return record->flags & NR_CLOCK;
}

/**
 * The next packets, if any, without waiting and without a system call.
 *
 * @batch: filled on success; release it with nr_batch_release()
 *
 * Several batches may be held at once, and released in any order. What is held
 * is blocks: batches of one block count once. A capture that holds all blocks
 * it may hold gets no further ones, and loses what is published meanwhile.
 *
 * Returns 1 with a batch, 0 if nothing is there now, or, after the last
 * packet, why there will be no more: -ENODATA, -ESHUTDOWN, -ESTALE, -EIDRM,
 * -EPROTO. A broker that died is seen by nr_capture_arm(), nr_capture_recv()
 * or as a hang-up of the descriptor, and from then on here too: -EPIPE.
 */
int nr_capture_next(struct nr_capture *capture, struct nr_batch *batch);

/**
 * As nr_capture_next(), but waits up to @timeout_ms (-1: for ever, 0: not at
 * all). Goes on after EINTR with the time that is left.
 *
 * Returns 1, 0 after the timeout or nr_capture_break(), or an error as there.
 */
int nr_capture_recv(struct nr_capture *capture, struct nr_batch *batch,
		    int timeout_ms);

/** The same with an end by CLOCK_MONOTONIC. NULL: for ever. */
int nr_capture_recv_until(struct nr_capture *capture, struct nr_batch *batch,
			  const struct timespec *deadline);

/**
 * Gives a batch back; its records and bytes become invalid. A batch that is
 * all zero is ignored, and the call makes it so. To be called in the
 * capture's thread.
 */
void nr_batch_release(struct nr_batch *batch);

/** A copy of a batch, in one allocation, independent of the capture. */
struct nr_owned {
	struct nr_batch batch; /**< for nr_batch_record() and nr_batch_data() */
};

/**
 * Copies a batch with all its bytes. Any thread may use and free the copy;
 * never call nr_batch_release() on it.
 *
 * Returns 0 or -ENOMEM.
 */
int nr_batch_copy(const struct nr_batch *batch, struct nr_owned **owned);

/** Frees a copy. Takes NULL. */
void nr_owned_free(struct nr_owned *owned);

/**
 * Called with each batch. @batch is released after it returns, unless the
 * callback has released it, or has copied the struct to keep it and zeroed
 * the original. Returns 0 to go on; anything else ends the loop.
 */
typedef int (*nr_loop_fn)(struct nr_batch *batch, void *data);

/**
 * Reads batches and hands them to @fn until it returns not 0 (that value is
 * returned), nr_capture_break() is called (returns 0) or the capture ends
 * (the error, as of nr_capture_next()). Stopping loses nothing: the loop may be
 * started again. With options.reattach_ms the death of the broker does not end
 * it, unless no other comes in that time.
 */
int nr_capture_loop(struct nr_capture *capture, nr_loop_fn fn, void *data);

/**
 * Ends the running or else the next nr_capture_loop() or nr_capture_recv().
 * From any thread, from inside the callback, and from a signal handler.
 */
void nr_capture_break(struct nr_capture *capture);

/**
 * Where every packet went, since the attach, on all lanes that are read.
 * At any quiet moment: seen = delivered + filtered + to_others + sum of lost.
 * seen and filtered are 0 where counts_shown is 0 (the channel's policy).
 */
struct nr_stats {
	size_t size;	    /**< sizeof(struct nr_stats): set it */
	uint64_t seen;	    /**< packets the source gave the channel */
	uint64_t delivered; /**< made readable to this capture */
	uint64_t filtered;  /**< kept back by the channel's filter */
	uint64_t to_others; /**< given to other members of the group */
	uint64_t lost[NR_LOST_CAUSES]; /**< by enum nr_lost_cause */
	uint64_t refusals;	       /**< times a block was refused */
	uint64_t counts_shown;
};

#define NR_STATS_INIT                                                          \
	{                                                                      \
		sizeof(struct nr_stats), 0, 0, 0, 0, { 0 }, 0, 0               \
	}

/**
 * Reads the statistics from shared memory: no system call, nothing is reset.
 * @stats->size must be set. Returns 0 or -EINVAL.
 */
int nr_capture_stats(struct nr_capture *capture, struct nr_stats *stats);

/**
 * What came since last time: @diff = @now - @last, then @last = @now.
 * Start with @last = NR_STATS_INIT.
 */
void nr_stats_diff(const struct nr_stats *now, struct nr_stats *last,
		   struct nr_stats *diff);

/** The sum of all causes of loss. */
uint64_t nr_stats_lost(const struct nr_stats *stats);

/** A loss cause in words: "not admitted". Never NULL. */
const char *nr_lost_name(unsigned cause);

/**
 * Called with each answer of the broker: a struct nr_msg_broker,
 * nr_msg_channel, nr_msg_source, nr_msg_channel_lane or nr_msg_capture, by
 * msg->type. Strings in it are terminated. Returns 0 to go on; anything else
 * ends the query.
 */
typedef int (*nr_query_fn)(const struct nr_msg *msg, void *data);

/**
 * Asks the broker for the channels this user may attach to.
 * @socket: NULL as in nr_open_options. Returns 0, what @fn returned, or as
 * nr_capture_open().
 */
int nr_broker_list(const char *socket, nr_query_fn fn, void *data);

/**
 * Asks for the statistics of @channel, NULL: of all that this user may attach
 * to. @error_text as in nr_open_options.
 */
int nr_broker_stat(const char *socket, const char *channel, nr_query_fn fn,
		   void *data, char *error_text, size_t error_text_size);

/**
 * Has the broker read its configuration file again; for root. Blocks until the
 * new one is in force. Returns 0; -EINVAL, and what is wrong with the file in
 * @error_text, if nothing has changed; -EACCES, or as nr_capture_open().
 */
int nr_broker_reload(const char *socket, char *error_text,
		     size_t error_text_size);

/** One of the errors above in words; never NULL. @err may have either sign. */
const char *nr_strerror(int err);

/** The version of the library at run time: "0.1.0". */
const char *nr_version(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
