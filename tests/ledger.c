/* SPDX-License-Identifier: BSD-2-Clause */
/* The readers' half of ledger.h: each enters what it gets, and judges nothing
 * but its own order. */
#include "ledger.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "traffic.h"

#define TICK_MS 50

struct ledger *ledger_of_sent(uint32_t packets)
{
	struct ledger *ledger = shared_memory(sizeof(*ledger));

	ledger->packets = packets;
	ledger->owner = shared_memory(packets);
	ledger->epoch = shared_memory(packets * sizeof(uint32_t));
	ledger->caplen = shared_memory(packets * sizeof(uint32_t));
	return ledger;
}

struct ledger *ledger_new(const struct trace *trace)
{
	struct ledger *ledger = ledger_of_sent(trace->packets);

	cr_assert(trace->is_nano);
	ledger->start_ns = trace->start_ns;
	ledger->gap_ns = trace->gap_ns;
	return ledger;
}

uint32_t ledger_missing(const struct ledger *ledger)
{
	uint32_t missing = 0;

	for (uint32_t i = 0; i < ledger->packets; i++)
		missing += !ledger->owner[i];
	return missing;
}

/* ------------------------------------------------------------------ reading */

static bool number_of(const struct ledger *ledger, const struct nr_batch *batch,
		      const struct nr_record *record, uint32_t *number)
{
	uint64_t n;

	if (ledger->start_ns)
		n = (record->ts_ns - ledger->start_ns) / ledger->gap_ns;
	else if (!traffic_seq(nr_batch_data(batch, record), record->caplen, &n))
		return false;
	*number = (uint32_t)n;
	return n < ledger->packets;
}

static void enter(struct reader *reader, const struct nr_batch *batch,
		  const struct nr_record *record)
{
	struct ledger *ledger = reader->ledger;
	uint32_t number;

	if (!nr_batch_data(batch, record) ||
	    !number_of(ledger, batch, record, &number)) {
		reader->strange++;
		return;
	}
	ledger->epoch[number] = batch->epoch;
	ledger->caplen[number] = record->caplen;
	/* Last: a reader may be killed between any two of these. */
	if (__atomic_exchange_n(&ledger->owner[number], reader->id,
				__ATOMIC_RELEASE))
		reader->twice++;
	if (reader->lanes < 2 && reader->count && number <= reader->last)
		reader->disorder++;
	reader->last = number;
	reader->count++;
}

static uint64_t digest(const struct nr_batch *batch)
{
	uint64_t sum = batch->seq;

	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *r = nr_batch_record(batch, i);
		const uint8_t *data = nr_batch_data(batch, r);

		sum = sum * 31 + r->ts_ns;
		for (uint32_t b = 0; b < r->caplen; b++)
			sum = sum * 31 + data[b];
	}
	return sum;
}

struct reading {
	uint64_t next_seq[NR_LANES_MAX];
	uint32_t epoch[NR_LANES_MAX];
	bool has_seq[NR_LANES_MAX];
	struct nr_batch kept;
	uint64_t kept_digest;
};

static void take(struct reader *reader, struct reading *reading,
		 const struct nr_batch *batch)
{
	unsigned lane = batch->lane;

	if (reading->has_seq[lane] &&
	    batch->seq != reading->next_seq[lane] + batch->gap)
		reader->disorder++;
	if (reading->has_seq[lane] && batch->epoch != reading->epoch[lane]) {
		reader->epochs++;
		reader->backwards += batch->epoch < reading->epoch[lane];
	}
	reading->has_seq[lane] = true;
	reading->next_seq[lane] = batch->seq + batch->count;
	reading->epoch[lane] = batch->epoch;
	reader->gaps += batch->gap;
	for (uint32_t i = 0; i < batch->count; i++)
		enter(reader, batch, nr_batch_record(batch, i));
}

static void pause_us(uint32_t us)
{
	const struct timespec time = { us / 1000000, us % 1000000 * 1000L };

	nanosleep(&time, NULL);
}

static int read_all(struct reader *reader, struct reading *reading,
		    struct nr_capture *capture)
{
	struct nr_batch batch;
	int r;

	while (!__atomic_load_n(&reader->must_stop, __ATOMIC_ACQUIRE)) {
		r = nr_capture_recv(capture, &batch, TICK_MS);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		take(reader, reading, &batch);
		if (reader->keeps_first && !reading->kept.count) {
			reading->kept = batch;
			reading->kept_digest = digest(&batch);
		} else {
			nr_batch_release(&batch);
		}
		if (reader->pause_us)
			pause_us(reader->pause_us);
	}
	return 0;
}

static int reader_main(void *data)
{
	static struct reading reading;
	struct reader *reader = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	options.group = reader->group;
	options.follow = reader->follows;
	options.leases = reader->leases;
	options.guarantee = reader->guarantee;
	options.error_text = reader->text;
	options.error_text_size = sizeof(reader->text);
	reader->result = nr_capture_open(reader->channel, &options, &capture);
	if (reader->result)
		return 1;
	__atomic_store_n(&reader->is_ready, 1, __ATOMIC_RELEASE);
	reader->result = read_all(reader, &reading, capture);
	if (reading.kept.count && digest(&reading.kept) != reading.kept_digest)
		reader->strange++;
	nr_batch_release(&reading.kept);
	if (reader->lingers && !reader->result) {
		shutdown(nr_capture_fd(capture), SHUT_RDWR);
		__atomic_store_n(&reader->has_hung_up, 1, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&reader->may_end, __ATOMIC_ACQUIRE))
			pause_us(1000);
	}
	reader->stats.size = sizeof(reader->stats);
	nr_capture_stats(capture, &reader->stats);
	nr_capture_close(capture);
	return 0;
}

/* -------------------------------------------------------------- the test's */

struct reader *readers_new(struct ledger *ledger, unsigned count,
			   const char *channel)
{
	struct reader *readers = shared_memory(count * sizeof(*readers));

	for (unsigned i = 0; i < count; i++) {
		readers[i].ledger = ledger;
		readers[i].channel = channel;
		readers[i].id = (uint8_t)(i + 1);
	}
	return readers;
}

void reader_start(struct reader *reader, uid_t uid)
{
	reader->is_ready = 0;
	reader->must_stop = 0;
	reader->result = 0;
	reader->pid = child_start(uid, reader_main, reader);
	eventually(__atomic_load_n(&reader->is_ready, __ATOMIC_ACQUIRE) ||
		   __atomic_load_n(&reader->result, __ATOMIC_ACQUIRE));
}

void reader_let_come(const struct reader *reader, uint64_t count)
{
	uint64_t goal = reader->count + count;

	eventually(__atomic_load_n(&reader->count, __ATOMIC_RELAXED) >= goal);
}

void reader_end(struct reader *reader, int result)
{
	int status = child_wait(reader->pid);

	cr_assert(status == 0 && reader->result == result,
		  "reader %u: status %d, %s (%d) after %llu packets: %s",
		  reader->id, status, nr_strerror(reader->result),
		  reader->result, (unsigned long long)reader->count,
		  reader->text);
	cr_assert_eq(reader->strange, 0);
	cr_assert_eq(reader->twice, 0, "reader %u: %llu twice", reader->id,
		     (unsigned long long)reader->twice);
	cr_assert_eq(reader->disorder, 0, "reader %u: %llu out of order",
		     reader->id, (unsigned long long)reader->disorder);
}

void reader_stop(struct reader *reader)
{
	__atomic_store_n(&reader->must_stop, 1, __ATOMIC_RELEASE);
	reader_end(reader, 0);
}

void reader_check_sum(const struct reader *reader)
{
	const struct nr_stats *s = &reader->stats;

	cr_assert_eq(s->delivered, reader->count, "reader %u: %llu of %llu",
		     reader->id, (unsigned long long)reader->count,
		     (unsigned long long)s->delivered);
	if (!s->counts_shown) {
		cr_assert_eq(s->seen, 0);
		cr_assert_eq(s->filtered, 0);
		return;
	}
	cr_assert_eq(
		s->seen,
		s->delivered + s->filtered + s->to_others + nr_stats_lost(s),
		"reader %u: %llu seen, %llu + %llu + %llu + %llu", reader->id,
		(unsigned long long)s->seen, (unsigned long long)s->delivered,
		(unsigned long long)s->filtered,
		(unsigned long long)s->to_others,
		(unsigned long long)nr_stats_lost(s));
}

const char *config_write(const char *config, ...)
{
	const char *path = test_path("broker.conf");
	FILE *file = fopen(path, "we");
	va_list args;

	cr_assert(file, "%s: %s", path, strerror(errno));
	fputs("[broker]\nmax_connections = 4096\nmax_captures = 4096\n"
	      "max_guaranteed = 1000000\nattach_rate = 100000\n",
	      file);
	va_start(args, config);
	vfprintf(file, config, args);
	va_end(args);
	cr_assert_eq(fclose(file), 0);
	return path;
}
