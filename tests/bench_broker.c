/* SPDX-License-Identifier: BSD-2-Clause */
/* A broker on the stage: one source and one channel, both called "lan". */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netring.h>

#include "bench.h"

#define CONFIG "/run/bench.conf"
#define LOG "/run/netringd.log"
#define LOG_SHOWN 2000 /* bytes */

static const char unlimited[] = "max_connections = 1024\n"
				"max_captures = 1024\n"
				"max_guaranteed = 4096\n"
				"max_memory = 1G\n"
				"attach_rate = 100000\n";

static void write_config(const struct bench_options *options,
			 const struct broker_setup *setup)
{
	FILE *file = fopen(CONFIG, "we");

	if (!file)
		bench_die("%s: %s", CONFIG, strerror(errno));
	fprintf(file, "[broker]\nsocket = " BROKER_SOCKET "\n%s",
		setup->is_default ? "" : unlimited);
	fprintf(file, "[source lan]\nbackend = %s\ncpu = %u\n", setup->backend,
		setup->cpu);
	if (strcmp(setup->backend, "replay") != 0)
		fprintf(file, "interface = far\n");
	if (strcmp(setup->backend, "af_packet") == 0)
		fprintf(file, "ring_size = %uM\n", options->ring_mib);
	/* As plain sockets have it here. */
	if (strcmp(setup->backend, "af_packet") == 0 && !setup->source &&
	    options->source.count == 0)
		fprintf(file, "ring_block = 1M\n");
	if (setup->is_normal)
		fprintf(file, "priority = 0\n");
	for (unsigned i = 0; i < options->source.count; i++)
		fprintf(file, "%s\n", options->source.item[i]);
	fprintf(file, "%s[channel lan]\nsource = lan\nallow = everyone\n%s",
		setup->source ? setup->source : "",
		setup->channel ? setup->channel : "");
	if (fclose(file))
		bench_die("%s: %s", CONFIG, strerror(errno));
}

/*
 * At the end of this program, if a broker was not seen through to its end: the
 * last that it said.
 */
static void show_log(void)
{
	FILE *file = getpid() == 1 ? fopen(LOG, "re") : NULL;
	char line[512];

	if (file && fseek(file, -LOG_SHOWN, SEEK_END) == 0)
		fgets(line, sizeof(line), file); /* half a line */
	while (file && fgets(line, sizeof(line), file))
		fputs(line, stderr);
	if (file)
		fclose(file);
}

static int count_channel(const struct nr_msg *msg, void *data)
{
	(void)msg;
	++*(unsigned *)data;
	return 0;
}

static void wait_serving(pid_t pid)
{
	uint64_t deadline = bench_now_ns() + UINT64_C(20000000000);
	unsigned channels = 0;

	while (nr_broker_list(BROKER_SOCKET, count_channel, &channels) ||
	       channels == 0) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			bench_die("the broker has ended");
		if (bench_now_ns() > deadline)
			bench_die("the broker does not serve");
		usleep(2000);
	}
}

pid_t broker_start(const struct bench_options *options,
		   const struct broker_setup *setup)
{
	static bool has_handler;
	pid_t pid;

	if (!has_handler)
		atexit(show_log);
	has_handler = true;
	write_config(options, setup);
	pid = stage_fork(setup->cpu);
	if (pid == 0) {
		int fd = open(LOG, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, STDERR_FILENO);
		execl(options->netringd, options->netringd, "-c", CONFIG,
		      (char *)NULL);
		fprintf(stderr, "%s: %s (--netringd names another)\n",
			options->netringd, strerror(errno));
		_exit(1);
	}
	wait_serving(pid);
	return pid;
}

void broker_stop(pid_t pid)
{
	kill(pid, SIGTERM);
	stage_reap(pid);
	unlink(LOG);
}

static int add_message(const struct nr_msg *msg, void *data)
{
	struct broker_counts *counts = data;
	const struct nr_msg_source *source = (const void *)msg;

	counts->captures += msg->type == NR_MSG_CAPTURE;
	if (msg->type != NR_MSG_SOURCE)
		return 0;
	counts->captured += source->captured;
	counts->drops += source->kernel_drops;
	counts->cpu_ns += source->cpu_ns;
	counts->bursts += source->bursts;
	counts->bells += source->bells;
	return 0;
}

void broker_ask(struct broker_counts *counts)
{
	char text[NR_TEXT_MAX] = "";
	int err;

	*counts = (struct broker_counts){ 0 };
	err = nr_broker_stat(BROKER_SOCKET, NULL, add_message, counts, text,
			     sizeof(text));
	if (err)
		bench_die("the broker's statistics: %s %s", nr_strerror(err),
			  text);
}
