// SPDX-License-Identifier: BSD-2-Clause
/*
 * Seccomp and Landlock. The engine gets all it captures from by descriptor, so
 * it needs no socket(), bind(), connect(), setsockopt() or dup(), and sends
 * only where it is connected already.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "lane_sched.h"
#include "log.h"

#define THREADS_MAX (2 * CONFIG_SOURCES_MAX * NR_LANES_MAX + 64)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

/* Allowed with any argument. A test knows of each who makes it. */
static const int calls[] = {
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(fchmod),
	/* descriptors */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(eventfd2),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
	SCMP_SYS(poll), SCMP_SYS(ppoll),
	/* clients and warden: on connections that there are */
	SCMP_SYS(accept4), SCMP_SYS(getsockopt), SCMP_SYS(sendmsg),
	SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(shutdown),
	/* threads and time */
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall), SCMP_SYS(sysinfo), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(tgkill), /* abort(): itself, or it has
						 * CAP_KILL, which it has not */
};

/* What a sanitizer's run time does besides; leak checks fork and trace. */
static const int sanitizer_calls[] = {
	SCMP_SYS(clone),
	SCMP_SYS(ptrace),
	SCMP_SYS(wait4),
	SCMP_SYS(prctl),
	SCMP_SYS(kill),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(getdents),
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(getuid),
	SCMP_SYS(getppid),
	SCMP_SYS(prlimit64),
	SCMP_SYS(stat),
	SCMP_SYS(pipe2),
	SCMP_SYS(access),
	SCMP_SYS(getrusage),
	SCMP_SYS(personality),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(sched_yield),
	SCMP_SYS(getrandom),
	SCMP_SYS(newfstatat),
	SCMP_SYS(nanosleep),
	SCMP_SYS(geteuid),
	SCMP_SYS(lseek),
	SCMP_SYS(sched_getaffinity),
};

/* Other bits of an int are not looked at by the kernel. */
#define EXACTLY UINT32_MAX
#define NOT_THOSE(bits) (UINT32_MAX & ~(uint32_t)(bits))
#define NEW_WORLDS                                                             \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |         \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/* Allowed only where these bits of an argument have this value. */
static const struct {
	int call;
	unsigned argument;
	uint64_t mask;
	uint64_t value;
} forms[] = {
	/* what is loaded is all that will ever run */
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	/* memory is made; nothing punches a hole */
	{ SCMP_SYS(fallocate), 1, EXACTLY, 0 },
	/* what is handed out, to open it read-only; by no path, see below */
	{ SCMP_SYS(openat), 2, NOT_THOSE(O_CLOEXEC), O_RDONLY },
	/* seals; and assert() asks whether stderr is there */
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_ADD_SEALS },
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_GETFL },
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_GETFD },
	/* what a client has not read yet */
	{ SCMP_SYS(ioctl), 1, EXACTLY, SIOCOUTQ },
	/* bells go to the peer; an address would make it a choice */
	{ SCMP_SYS(sendto), 4, UINT64_MAX, 0 },
	/* threads, never processes */
	{ SCMP_SYS(clone), 0,
	  CLONE_THREAD | CLONE_PTRACE | CLONE_UNTRACED | NEW_WORLDS,
	  CLONE_THREAD },
	/* of who asks */
	{ SCMP_SYS(sched_getaffinity), 0, EXACTLY, 0 },
	{ SCMP_SYS(sched_setaffinity), 0, EXACTLY, 0 },
	{ SCMP_SYS(sched_getscheduler), 0, EXACTLY, 0 },
	{ SCMP_SYS(sched_setscheduler), 0, EXACTLY, 0 },
};

static int allow_all(scmp_filter_ctx filter, const int *list, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, list[i], 0);
	return err;
}

static int allow_forms(scmp_filter_ctx filter)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms) && !err; i++)
		err = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, forms[i].call, 1,
			SCMP_CMP64(forms[i].argument, SCMP_CMP_MASKED_EQ,
				   forms[i].mask, forms[i].value));
	/* It hides its flags: libc then takes the older call. */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
				       SCMP_SYS(clone3), 0);
	return err;
}

/* Of the calling thread: @list, and what @more allows. */
static int enter_seccomp(const int *list, size_t count,
			 int (*more)(scmp_filter_ctx filter))
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	if (!filter)
		return -ENOMEM;
	err = allow_all(filter, list, count);
	if (!err && IS_SANITIZED)
		err = allow_all(filter, sanitizer_calls,
				sizeof(sanitizer_calls) /
					sizeof(*sanitizer_calls));
	if (!err)
		err = more(filter);
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}

/* With the descriptors of rings nothing but this; with a mapping, no code. */
static const int mapper_calls[] = {
	SCMP_SYS(recvmsg), SCMP_SYS(close),	 SCMP_SYS(futex),
	SCMP_SYS(exit),	   SCMP_SYS(exit_group), SCMP_SYS(restart_syscall),
};

static int allow_mapping(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, PROT_EXEC,
					   0));
}

int sandbox_enter_mapper(void)
{
	return enter_seccomp(mapper_calls,
			     sizeof(mapper_calls) / sizeof(*mapper_calls),
			     allow_mapping);
}

/* --------------------------------------------------------------- Landlock */

/*
 * No file can be opened by a path. What Landlock leaves is what no path leads
 * to: memory files, which are reopened by their number in /proc/self/fd.
 */
static int enter_landlock(void)
{
	/* All rights of the first version, and no exception. */
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
	};
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
				   sizeof(attr), 0);
	int err = 0;

	if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
		log_warn("this kernel has no Landlock for the engine");
		return 0;
	}
	if (ruleset < 0)
		return -errno;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		err = -errno;
	close(ruleset);
	return err;
}

/* ----------------------------------------------------------------- limits */

/*
 * No thread that spins, and no core file. Of threads as many as two
 * configurations have lanes, beside each other while one follows the other, and
 * some. They are counted by user, so only where that is the engine's own.
 * Nothing bounds memory: how much arenas need is for clients to say, and memory
 * files can be had by the thousand. That is what a control group is for.
 */
static int enter_limits(bool has_own_user)
{
	const struct rlimit threads = { THREADS_MAX, THREADS_MAX };
	const struct rlimit none = { 0, 0 };

	if ((has_own_user && setrlimit(RLIMIT_NPROC, &threads)) ||
	    setrlimit(RLIMIT_CORE, &none))
		return -errno;
	return lane_sched_limit();
}

int sandbox_enter(bool has_own_user)
{
	int err = enter_limits(has_own_user);

	/* A leak check reads the program's own files. */
	if (!err && !IS_SANITIZED)
		err = enter_landlock();
	if (!err)
		err = enter_seccomp(calls, sizeof(calls) / sizeof(*calls),
				    allow_forms);
	return err;
}
