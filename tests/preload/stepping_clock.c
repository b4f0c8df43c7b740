/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into a program: the wall clock, and TAI with it, jumps by two hours
 * twenty times a second. Setting the machine's own would disturb others.
 */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STEP_S 3600
#define PERIOD_NS 50000000

int clock_gettime(clockid_t clock, struct timespec *now);

int clock_gettime(clockid_t clock, struct timespec *now)
{
	struct timespec steady;

	if (syscall(SYS_clock_gettime, clock, now))
		return -1;
	if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE &&
	    clock != CLOCK_TAI)
		return 0;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
	now->tv_sec += steady.tv_nsec / PERIOD_NS % 2 ? STEP_S : -STEP_S;
	return 0;
}
