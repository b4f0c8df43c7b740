/* SPDX-License-Identifier: BSD-2-Clause */
/* What the benchmark programs share. On any error they print it and end. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_SEND_CPU 0    /* the generator, and so the receive path */
#define BENCH_RECEIVE_CPU 1 /* broker and consumers */
#define BENCH_NEAR_NS 100.0 /* a cache-line hop below this is "near" */

/* ----------------------------------------------------------------- machine */

__attribute__((noreturn, format(printf, 1, 2))) void
bench_die(const char *format, ...);

uint64_t bench_now_ns(void);
void bench_pin(unsigned cpu);

/*
 * What one cache-line hop between the two CPUs takes now. On a virtual machine
 * it changes from minute to minute, as the host moves CPUs about.
 */
double bench_hop_ns(void);

/* CPU time of a process and its descendants. 0 if it is gone. */
uint64_t bench_cpu_ns(pid_t root);

/* The highest real-time priority of a thread in them; 0: all are normal. */
unsigned bench_priority(pid_t root);

const char *bench_cpu_model(void);

/* Sorts; returns the middle one. */
double bench_median(double *values, unsigned count);

/* ------------------------------------------------------------------- stage */

/*
 * Goes on in a child that is the first process of its own PID, network and
 * mount namespaces: however the program ends, everything in them ends, and
 * nothing is left behind. /run is empty and private. There are two interfaces,
 * the ends of a veth: "far" is here, "near" in a second network namespace.
 */
void stage_enter(void);

/* A child, pinned, that does not outlive this process. */
pid_t stage_fork(unsigned cpu);

/* Frames that came out of the veth here since it was made. */
uint64_t stage_received(void);

/* Waits for a child that was told to end; kills it after ten seconds. */
void stage_reap(pid_t pid);

/* The generator, on its CPU, in the other namespace. */
struct generator {
	pid_t pid;
	int output;
	/* By generator_stop(): */
	uint64_t sent;	 /* into the veth */
	uint64_t passed; /* by it; the rest found its ring full */
};

/* Returns when the first frames have come. */
void generator_start(struct generator *generator, const char *path,
		     const char *size);
void generator_stop(struct generator *generator);

/* ----------------------------------------------------------------- readers */

/* What a reader says of itself, in shared memory. Writer: the reader. */
struct reader {
	uint64_t packets; /* of the generator, whose header was read */
	uint64_t missing; /* by the sequence numbers in them */
	uint64_t misordered;
	uint64_t foreign; /* of others */
	uint64_t is_ready;
	/* At its end: */
	uint64_t kernel_drops; /* plain: of its socket */
	uint64_t lost;	       /* netring: by its statistics */
	pid_t pid;	       /* writer: who started it */
} __attribute__((aligned(128)));

struct readers {
	uint64_t stop; /* writer: who started them */
	unsigned count;
	struct reader *reader;
};

struct reader_options {
	bool is_plain;
	/* plain: the socket's ring */
	uint32_t ring_size, ring_block, retire_ms;
	/* netring */
	const char *socket, *channel;
};

/* Starts @count readers, each a process, and waits until they are ready. */
struct readers *readers_start(const struct reader_options *options,
			      unsigned count);

/* Lets them read until nothing comes any more, and ends them. */
void readers_stop(struct readers *readers);
void readers_free(struct readers *readers);

#endif
