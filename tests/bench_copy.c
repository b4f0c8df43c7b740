/* SPDX-License-Identifier: BSD-2-Clause */
/* What is measured without packets: plain work on memory, on one CPU. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

uint8_t *bench_pages(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	madvise(map, size, MADV_HUGEPAGE);
	memset(map, 1, size);
	return map;
}

double bench_elsewhere(unsigned cpu, double (*fn)(const void *),
		       const void *arg)
{
	double *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double value;
	pid_t pid;

	if (shared == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	pid = stage_fork(cpu);
	if (pid == 0) {
		*shared = fn(arg);
		_exit(0);
	}
	stage_reap(pid);
	value = *shared;
	munmap(shared, sizeof(*shared));
	return value;
}
