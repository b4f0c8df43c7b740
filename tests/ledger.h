/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who was given which packet: readers in processes of their own enter it into
 * a ledger that all of them share, and what must hold is looked up there.
 */
#ifndef TESTS_LEDGER_H
#define TESTS_LEDGER_H

#include "support.h"
#include "trace.h"

/* What came of each packet, for those who share them. In shared memory. */
struct ledger {
	uint32_t packets;
	uint64_t start_ns; /* time stamps give the number; 0: traffic_seq() */
	uint64_t gap_ns;
	uint8_t *owner;	  /* id of the reader that was given it; 0: nobody */
	uint32_t *epoch;  /* of the batch it came with */
	uint32_t *caplen; /* of its record */
};

/* Of the packets of @trace, which has ns time stamps; or of @packets sent. */
struct ledger *ledger_new(const struct trace *trace);
struct ledger *ledger_of_sent(uint32_t packets);
/* How many packets nobody was given. */
uint32_t ledger_missing(const struct ledger *ledger);

/* One capture. The first part is set before its start. */
struct reader {
	struct ledger *ledger;
	const char *channel;
	const char *group;
	bool follows;
	bool keeps_first; /* its first batch, to the end */
	/*
	 * Asked to stop, it hangs up, and reads its statistics when it may:
	 * when the lane has let go of it, they are what it was delivered in
	 * all.
	 */
	bool lingers;
	uint8_t id;	 /* 1 ... */
	unsigned leases; /* 0: the default */
	unsigned guarantee;
	uint32_t pause_us; /* after each batch */
	uint32_t lanes;	   /* more than one: no order between them */

	pid_t pid;
	uint32_t is_ready; /* attached */
	uint32_t must_stop;
	uint32_t has_hung_up;
	uint32_t may_end;
	int result;    /* what ended it, 0: must_stop */
	uint32_t last; /* packet given last */
	uint64_t count;
	uint64_t gaps;	    /* packets in them */
	uint64_t twice;	    /* given to somebody before */
	uint64_t disorder;  /* behind a later one; or seq jumped */
	uint64_t strange;   /* not of the trace; or a kept batch that changed */
	uint32_t epochs;    /* how often the epoch changed */
	uint32_t backwards; /* how often it was less than before */
	struct nr_stats stats;
	char text[NR_TEXT_MAX]; /* the broker's words, if it was refused */
};

struct reader *readers_new(struct ledger *ledger, unsigned count,
			   const char *channel);
/* As @uid; returns when it has attached, or has failed to. */
void reader_start(struct reader *reader, uid_t uid);
/* Packets come: at least @count after now. */
void reader_let_come(const struct reader *reader, uint64_t count);
/* Waits for its end: that it is @result, and that nothing was wrong. */
void reader_end(struct reader *reader, int result);
/* Asks it to stop, and waits. */
void reader_stop(struct reader *reader);
/* seen = delivered + filtered + to_others + lost, if it is shown. */
void reader_check_sum(const struct reader *reader);

/* Writes test_path("broker.conf") anew: [broker] with large quotas, @config. */
__attribute__((format(printf, 1, 2))) const char *
config_write(const char *config, ...);

#endif
