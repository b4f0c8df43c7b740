/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_memif: the same hop as DPDK's shared memory interface makes it, between
 * two of DPDK's testpmd, one that only sends and one that only receives. The
 * client owns the memory and may do without copying; which end is the sender
 * makes a difference, so both ways are measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SOCKET "/run/memif.sock"
#define WARM_UP_MS 500
#define ANSWER_MS 20000
#define PROMPT "testpmd> "
#define HUGE_PAGES 128 /* of 2 MiB, for both */

/* A testpmd, and what it has printed since the last command. */
struct pmd {
	pid_t pid;
	int in, out;
	size_t used;
	char text[1 << 16];
};

struct run {
	bool is_zero_copy, client_sends;
	const char *size;
	const char *error; /* why there is no result */
};

/* ----------------------------------------------------------------- testpmd */

static bool has_huge_pages(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned pages = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "HugePages_Free: %u", &pages) == 1)
			break;
	if (file)
		fclose(file);
	return pages >= HUGE_PAGES;
}

static void exec_pmd(const struct run *run, unsigned cpu, bool sends)
{
	bool is_client = sends == run->client_sends;
	char cores[32], device[128], size[32];

	snprintf(cores, sizeof(cores), "0@%u,1@%u", cpu, cpu);
	snprintf(device, sizeof(device),
		 "net_memif0,role=%s,socket-abstract=no,socket=" SOCKET "%s",
		 is_client ? "client" : "server",
		 !is_client	   ? "" :
		 run->is_zero_copy ? ",zero-copy=yes" :
				     ",zero-copy=no");
	snprintf(size, sizeof(size), "--txpkts=%s", run->size);
	execlp("stdbuf", "stdbuf", "-oL", "dpdk-testpmd", "--lcores", cores,
	       "--in-memory", "--no-pci", "--no-telemetry",
	       "--single-file-segments", "-m", "128", "--vdev", device, "--",
	       "-i", sends ? "--forward-mode=txonly" : "--forward-mode=rxonly",
	       "--nb-cores=1", "--total-num-mbufs=16384", size, (char *)NULL);
	printf("stdbuf: %s", strerror(errno));
	fflush(stdout);
	_exit(127);
}

static void pmd_start(struct pmd *pmd, const struct run *run, unsigned cpu,
		      bool sends)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		bench_die("pipe: %s", strerror(errno));
	pmd->used = 0;
	pmd->pid = stage_fork(cpu);
	if (pmd->pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		exec_pmd(run, cpu, sends);
	}
	close(in[0]);
	close(out[1]);
	pmd->in = in[1];
	pmd->out = out[0];
}

/* Reads until it has said @what. Returns where, or NULL if it never does. */
static const char *pmd_expect(struct pmd *pmd, const char *what)
{
	uint64_t deadline = bench_now_ns() + ANSWER_MS * UINT64_C(1000000);
	struct pollfd pfd = { .fd = pmd->out, .events = POLLIN };
	const char *found;
	ssize_t n;

	for (;;) {
		pmd->text[pmd->used] = 0;
		found = strstr(pmd->text, what);
		if (found || pmd->used == sizeof(pmd->text) - 1 ||
		    bench_now_ns() > deadline)
			return found;
		if (poll(&pfd, 1, 100) != 1)
			continue;
		n = read(pmd->out, pmd->text + pmd->used,
			 sizeof(pmd->text) - 1 - pmd->used);
		if (n <= 0)
			return NULL;
		pmd->used += (size_t)n;
	}
}

static void pmd_say(struct pmd *pmd, const char *command)
{
	pmd->used = 0;
	if (write(pmd->in, command, strlen(command)) < 0)
		return; /* it is gone; so will be the answer */
}

/* Packets received so far, and when. */
static bool pmd_received(struct pmd *pmd, uint64_t *packets, uint64_t *time_ns)
{
	const char *at;

	pmd_say(pmd, "show port stats all\n");
	at = pmd_expect(pmd, "RX-packets:");
	*time_ns = bench_now_ns();
	return at && pmd_expect(pmd, "Tx-pps") &&
	       sscanf(at, "RX-packets: %" SCNu64, packets) == 1;
}

static void pmd_stop(struct pmd *pmd)
{
	pmd_say(pmd, "quit\n");
	pmd_expect(pmd, "Bye");
	close(pmd->in);
	close(pmd->out);
	stage_reap(pmd->pid);
}

/* The last line that it has printed: why it has ended. */
static const char *pmd_last_words(struct pmd *pmd)
{
	char *line;

	pmd->text[pmd->used] = 0;
	while ((line = strrchr(pmd->text, '\n')) && !line[1])
		*line = 0;
	return line ? line + 1 : pmd->text;
}

/* ------------------------------------------------------------------ a run */

static bool forward(struct pmd *from, struct pmd *to, unsigned window_ms,
		    double *pps)
{
	uint64_t a, b, start_ns, end_ns;
	bool has_counted;

	pmd_say(to, "start\n");
	pmd_expect(to, PROMPT);
	pmd_say(from, "start\n");
	pmd_expect(from, PROMPT);
	usleep(WARM_UP_MS * 1000);
	has_counted = pmd_received(to, &a, &start_ns);
	usleep(window_ms * 1000);
	has_counted = has_counted && pmd_received(to, &b, &end_ns);
	/* Both, before either leaves: who is left would touch what is gone. */
	pmd_say(from, "stop\n");
	pmd_expect(from, "Done.");
	pmd_say(to, "stop\n");
	pmd_expect(to, "Done.");
	if (has_counted)
		*pps = (double)(b - a) * 1e9 / (double)(end_ns - start_ns);
	return has_counted;
}

/* The server first: a client looks for it only once. */
static void connect_and_forward(struct run *run, unsigned window_ms,
				double *pps)
{
	static struct pmd sender, receiver;
	struct pmd *server = run->client_sends ? &receiver : &sender;
	struct pmd *client = run->client_sends ? &sender : &receiver;

	unlink(SOCKET);
	for (int i = 0; i < 2; i++) {
		struct pmd *pmd = i ? client : server;

		pmd_start(pmd, run,
			  pmd == &sender ? BENCH_SEND_CPU : BENCH_RECEIVE_CPU,
			  pmd == &sender);
		if (!pmd_expect(pmd, PROMPT)) {
			run->error = pmd_last_words(pmd);
			kill(pmd->pid, SIGKILL);
			if (i)
				pmd_stop(server);
			pmd_stop(pmd);
			return;
		}
	}
	if (!forward(&sender, &receiver, window_ms, pps))
		run->error = pmd_last_words(&receiver);
	else if (*pps <= 0)
		run->error = "nothing was received";
	pmd_stop(&sender);
	pmd_stop(&receiver);
}

static void measure(const struct bench_options *options, struct run run)
{
	struct noise noise;
	char mode[64];
	double pps = 0;

	snprintf(mode, sizeof(mode), "memif %s %s sends",
		 run.is_zero_copy ? "zero-copy" : "copying",
		 run.client_sends ? "client" : "server");
	if (!bench_list_has(&options->modes, mode))
		return;
	noise_open(&noise);
	if (has_huge_pages())
		connect_and_forward(&run, options->window_ms, &pps);
	else
		run.error = "it wants huge pages: sysctl vm.nr_hugepages=512";
	record_begin("hop", options->round);
	record_text("mode", "%s", mode);
	record_text("size", "%s", run.size);
	record_number("k", 1);
	if (run.error)
		record_text("error", "%.200s", run.error);
	else
		record_number("min_pps", pps);
	noise_record(&noise);
	record_end();
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.sizes, "64,1500");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	signal(SIGPIPE, SIG_IGN);
	for (unsigned s = 0; s < options.sizes.count; s++)
		for (int way = 0; way < 4; way++)
			measure(&options,
				(struct run){ .is_zero_copy = way < 2,
					      .client_sends = way % 2 == 0,
					      .size = options.sizes.item[s] });
	return 0;
}
