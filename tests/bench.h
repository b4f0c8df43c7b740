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
#define BENCH_LIST_MAX 16

/* ----------------------------------------------------------------- options */

/* "1,8,32". Not to be copied: it points into itself. */
struct bench_list {
	char text[256];
	unsigned count;
	const char *item[BENCH_LIST_MAX];
};

/*
 * All programs have the same options, see bench_options.c. A program sets the
 * defaults of those that concern it, and leaves the others alone.
 */
struct bench_options {
	unsigned round;		    /* a label of the results */
	unsigned window_ms;	    /* measured for so long each time */
	unsigned ring_mib;	    /* each kernel ring, of plain sockets too */
	unsigned leases, guarantee; /* of each capture; 0: the default */
	struct bench_list sizes;    /* of frames; or imix */
	struct bench_list consumers; /* how many */
	struct bench_list rates;     /* frames/s; 0: as fast as it goes */
	struct bench_list modes;     /* what is compared; none: all */
	struct bench_list source;    /* more lines for the broker's source */
	char netringd[4096], generator[4096];
};

void bench_options_parse(struct bench_options *options, int argc, char **argv);
/* Calls @fn for each size and each rate. */
typedef void (*bench_fn)(const struct bench_options *options, const char *size,
			 const char *rate);
void bench_each(const struct bench_options *options, bench_fn fn);

unsigned bench_number(const char *text, unsigned min, unsigned max);
void bench_list_parse(struct bench_list *list, const char *text);
bool bench_list_has(const struct bench_list *list, const char *item);

/* ------------------------------------------------------------------ record */

/*
 * A measurement is a flat record: words that say what was measured, and numbers
 * that came out. One a line, as JSON, to --json; bench_report makes tables,
 * curves and ratios of it. Also to stderr, to see that it goes on.
 */
void record_open_file(const char *path);
void record_begin(const char *bench, unsigned round);
__attribute__((format(printf, 2, 3))) void record_text(const char *key,
						       const char *format, ...);
void record_number(const char *key, double value);
void record_end(void);

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

/* CPU time of a process and its living descendants. 0 if it is gone. */
uint64_t bench_cpu_ns(pid_t root);

/* Bytes of memory that a process and its descendants have mapped and touched.
 */
uint64_t bench_memory(pid_t root);

/* How often their threads have gone to sleep by themselves, and so woken up. */
uint64_t bench_switches(pid_t root);

/* The highest real-time priority of a thread in them; 0: all are normal. */
unsigned bench_priority(pid_t root);

/*
 * What was going on around a measurement, to be told with it: the hop between
 * the CPUs (the worse of before and after), and the CPUs that other processes
 * and, on a virtual machine, other machines took.
 */
struct noise {
	double hop_ns;
	uint64_t time_ns, own_ns, busy_ns, stolen_ns;
};

void noise_open(struct noise *noise);
void noise_record(const struct noise *noise);

/* Sorts; returns the middle one. */
double bench_median(double *values, unsigned count);

/* Sorts; returns the smallest that is not below @share of all. */
uint32_t bench_quantile(uint32_t *values, uint64_t count, double share);

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

/*
 * @size: bytes, or "imix". @rate: frames/s, "0": as fast as it goes; any other
 * has each frame say when it was sent. Returns when the first frames have
 * come.
 */
void generator_start(struct generator *generator, const char *path,
		     const char *size, const char *rate);
void generator_stop(struct generator *generator);

/* ------------------------------------------------------------------ broker */

#define BROKER_SOCKET "/run/netring/broker.sock"

struct broker_setup {
	const char *backend; /* af_packet, xdp, replay */
	const char *source;  /* more lines of its source; may be NULL */
	const char *channel; /* of its channel, or more channels; the same */
	bool is_normal;	     /* no real-time priority */
	bool is_default;     /* its limits for a user, not unlimited */
	unsigned cpu;
};

/* Returns when it serves. Shows its log if this program fails. */
pid_t broker_start(const struct bench_options *options,
		   const struct broker_setup *setup);
void broker_stop(pid_t pid);

/* Summed over lanes. */
struct broker_counts {
	uint64_t captured, drops, cpu_ns, bursts, bells, captures;
};

void broker_ask(struct broker_counts *counts);

/* ----------------------------------------------------------------- readers */

/* Where packets come from. */
enum reader_kind {
	READER_RECV,  /* a plain AF_PACKET socket, a call a packet */
	READER_RING,  /* the same with TPACKET_V3 */
	READER_PCAP,  /* libpcap, as tcpdump uses it */
	READER_XSK,   /* a plain AF_XDP socket */
	READER_PIPED, /* none: what another reader wakes it for */
	READER_NETRING,
};

/* What is done with each. */
enum reader_look {
	LOOK_CHECK, /* reads the header, checks the sequence number in it */
	LOOK_AGE,   /* and takes the time since it was sent */
	LOOK_WALK,  /* netring: reads the record, no byte of the packet */
	LOOK_TOUCH, /* netring, AF_XDP: and one word of the header */
};

struct reader_options {
	enum reader_kind kind;
	enum reader_look look;
	/* plain: the socket's ring */
	uint32_t ring_size, ring_block, retire_ms;
	/* netring */
	const char *channel, *group;
	unsigned leases, guarantee; /* 0: the default */
	int wake_fd; /* not 0: wakes another process by it, once a packet */
	unsigned cpu;
	uint32_t samples; /* LOOK_AGE: how many are kept */
};

/* What a reader says of itself, in shared memory. Writer: the reader. */
struct reader {
	uint64_t packets; /* of the generator, whose header was read */
	uint64_t missing; /* by the sequence numbers in them */
	uint64_t misordered;
	uint64_t foreign;    /* of others */
	uint64_t longest_ns; /* from the kernel's stamp to the first look */
	uint64_t is_ready;
	/* LOOK_AGE, while the window is open: */
	uint64_t age_count;
	uint32_t *ages; /* ns */
	/* At its end: */
	uint64_t kernel_drops; /* plain: of its socket */
	uint64_t lost;	       /* netring: by its statistics */
	pid_t pid;	       /* writer: who started it */
} __attribute__((aligned(128)));

/* Writer: who started them. */
struct readers {
	uint64_t stop, is_open;
	unsigned count;
	size_t size; /* of all this */
	struct reader *reader;
};

/* Starts @count readers, each a process, and waits until they are ready. */
struct readers *readers_start(const struct reader_options *options,
			      unsigned count);

/* Ages and longest times are kept from now on, or no more. */
void readers_open(struct readers *readers, bool is_open);

/* Returns when they have read all there is, for nothing more comes. */
void readers_drain(const struct readers *readers);

void readers_stop(struct readers *readers);
void readers_free(struct readers *readers);

/* ------------------------------------------------------------------- trial */

/* All that is looked at when the window of a measurement opens and closes. */
#define TRIAL_READERS_MAX 256
struct look {
	uint64_t time_ns, frames, packets[TRIAL_READERS_MAX];
	uint64_t broker_ns, readers_ns;
	struct broker_counts lane;
};

void look_at(struct look *look, const struct readers *readers, pid_t broker);

/*
 * One measurement: readers, perhaps a broker, perhaps the generator; what
 * happens in a window in the middle of it, and at the end where each frame is.
 */
struct trial {
	const struct bench_options *options;
	struct noise noise;
	pid_t broker;		 /* 0: none */
	struct readers *readers; /* NULL: none */
	struct generator generator;
	bool is_sending;
	bool is_shared; /* the readers are a group: each has its part */
	struct look before, after;
};

/* @setup, @reader: NULL if there is none. */
void trial_start(struct trial *trial, const struct bench_options *options,
		 const struct broker_setup *setup,
		 const struct reader_options *reader, unsigned count);

/* Starts the generator. */
void trial_send(struct trial *trial, const char *size, const char *rate);

/* Warms up, and looks before and after the window. */
void trial_watch(struct trial *trial);

/*
 * Records of the window: frame_pps, frame_ns; of the readers min_pps,
 * median_pps, max_pps, consumer_cpu, consumer_ns (a packet and consumer); of
 * the broker broker_cpu, lane_pps, lane_ns (a packet captured), burst,
 * bells_ps.
 */
void trial_record(const struct trial *trial);

/*
 * Ends all but what the last record is about, and counts: sent, veth_lost,
 * ring_lost, not_admitted, missing (summed over readers); unexplained is 0
 * when each frame was read, or somebody says where it was lost.
 */
void trial_stop(struct trial *trial);

/* Records the noise, and ends the record. */
void trial_end(struct trial *trial);

/* ------------------------------------------------------------------ copying */

/* Memory of huge pages, if there are any, written to. For ever. */
uint8_t *bench_pages(size_t size);

/* What @fn returns in a child on that CPU. */
double bench_elsewhere(unsigned cpu, double (*fn)(const void *),
		       const void *arg);

#endif
